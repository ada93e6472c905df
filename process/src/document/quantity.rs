//! Durations and sizes as people write them: `90s`, `1h30m`, `50m`. Command-line flags are read by the same rules.

use std::time::Duration;

/// Why a text is no duration or no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("expected a duration such as `250ms`, `30s`, `5m`, `1h30m` or `7d`")]
    NotADuration,
    #[error("expected a size such as `512k`, `50m`, `50MiB` or `2g`")]
    NotASize,
    #[error("the number is too large")]
    TooLarge,
}

/// A whole number and a unit of `ms`, `s`, `m`, `h` or `d`, once or several times: `1h30m`. Zero is `0s`.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(QuantityError::NotADuration);
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest, QuantityError::NotADuration)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(end);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(QuantityError::NotADuration),
        };
        let part = number.checked_mul(milliseconds).ok_or(QuantityError::TooLarge)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or(QuantityError::TooLarge)?;
        rest = tail;
    }
    Ok(total)
}

/// Bytes: a whole number, or one with `k`, `m`, `g` or `t`, which all count by 1024, as does every longer spelling
/// of them (`50m`, `50MB` and `50MiB` are the same).
pub fn byte_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = leading_number(text, QuantityError::NotASize)?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(QuantityError::NotASize),
    };
    number.checked_mul(factor).ok_or(QuantityError::TooLarge)
}

fn leading_number(text: &str, otherwise: QuantityError) -> Result<(u64, &str), QuantityError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(otherwise);
    }
    // All digits, so the only way to fail is by size.
    Ok((digits.parse().map_err(|_| QuantityError::TooLarge)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "10", "s", "-1s", "1.5h", "10 s", "10sec", "1h 30m"] {
            assert_eq!(duration(wrong), Err(QuantityError::NotADuration), "{wrong}");
        }
        assert_eq!(duration("99999999999999999999s"), Err(QuantityError::TooLarge));
        assert_eq!(duration("18446744073709551615d"), Err(QuantityError::TooLarge));
    }

    #[test]
    fn sizes_count_by_1024() {
        assert_eq!(byte_size("0"), Ok(0));
        assert_eq!(byte_size("512k"), Ok(512 * 1024));
        assert_eq!(byte_size("50m"), byte_size("50 MiB"));
        assert_eq!(byte_size("2G"), Ok(2 << 30));
        for wrong in ["", "m", "-1", "1.5m", "5 apples"] {
            assert_eq!(byte_size(wrong), Err(QuantityError::NotASize), "{wrong}");
        }
        assert_eq!(byte_size("99999999t"), Err(QuantityError::TooLarge));
    }
}
