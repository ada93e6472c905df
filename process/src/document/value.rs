//! What kind of value stands at a key, in words, and the conversions out of TOML's kinds.

use std::ops::Range;

use toml::de::{DeString, DeTable, DeValue};

pub(super) type Key<'a> = toml::Spanned<DeString<'a>>;
pub(super) type Value<'a> = toml::Spanned<DeValue<'a>>;

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// `None` where the value is no integer; `Some(None)` where it is one that 64 bits do not hold.
pub(super) fn integer(value: &DeValue<'_>) -> Option<Option<i64>> {
    let number = value.as_integer()?;
    Some(i64::from_str_radix(number.as_str(), number.radix()).ok())
}

/// The entries in the order of the file; TOML's tree sorts them by name.
pub(super) fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<(&'a Key<'a>, &'a Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Calls `visit` with the name and the place of every value that holds no others; what stands in an array or an
/// inline table has the name of that too, because `token = { value = "..." }` is as secret as `token = "..."`.
pub(super) fn leaves(text: &str, table: &DeTable<'_>, visit: &mut dyn FnMut(&[&str], Range<usize>)) {
    for (key, value) in table.iter() {
        leaf(text, &mut vec![key.get_ref().as_ref()], value, visit);
    }
}

fn leaf<'n>(
    text: &str,
    names: &mut Vec<&'n str>,
    value: &'n Value<'_>,
    visit: &mut dyn FnMut(&[&str], Range<usize>),
) {
    match value.get_ref() {
        DeValue::Array(items) => {
            for item in items.iter() {
                leaf(text, names, item, visit);
            }
        }
        DeValue::Table(table) if text[value.span().start..].starts_with('{') => {
            for (key, value) in table.iter() {
                names.push(key.get_ref());
                leaf(text, names, value, visit);
                names.pop();
            }
        }
        DeValue::Table(table) => leaves(text, table, visit),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => visit(names, value.span()),
    }
}
