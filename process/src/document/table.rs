//! One table of the file while its keys are being read.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::place::{Place, Spanned};
use super::problems::{Kind, Problems};
use super::quantity;
use super::secret::Secret;
use super::value::{self, Key, Value, in_order, kind};

/// A table whose keys are asked for one after the other. Each accessor reports for itself what is wrong and returns
/// `None` then, as it does for a key that is not there. Dropping the table reports the keys nobody asked for, so ask
/// for all of them before the first `?`.
pub struct Table<'a> {
    entries: &'a DeTable<'a>,
    problems: &'a Problems,
    /// The header, or the whole of an inline table.
    place: Place,
    name: String,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn root(entries: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        Self { entries, problems, place: Place::File, name: String::new(), asked: Vec::new() }
    }

    fn child(&self, entries: &'a DeTable<'a>, place: Place, name: String) -> Self {
        let name = if self.name.is_empty() { name } else { format!("{name} of {}", self.name) };
        Self { entries, problems: self.problems, place, name, asked: Vec::new() }
    }

    /// For checks that need several values.
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Its header, for problems that concern the table as a whole.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether the key is written, whatever its value. Counts as asking for it.
    pub fn contains(&mut self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    /// Whether a table stands at the key, for those that can be written in short as well. Does not count as asking for
    /// it.
    pub fn holds_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// `table.required("origin", Table::string)`: reports the key as missing where it is not written.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.contains(key) {
            return read(self, key);
        }
        let message = format!("missing key `{key}`{}", self.suffix());
        self.problems.push(self.place, Kind::Whole, message, None);
        None
    }

    pub fn required_string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        self.required(key, Self::string)
    }

    pub fn required_parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &'static str,
    ) -> Option<Spanned<T>> {
        self.required(key, Self::parsed)
    }

    pub fn string(&mut self, key: &'static str) -> Option<Spanned<String>> {
        self.read(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string that no report ever shows; what is wrong with it is reported at the key.
    pub fn secret_string(&mut self, key: &'static str) -> Option<Spanned<Secret>> {
        let (name, value) = self.take(key)?;
        self.problems.hide(value.span());
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(name.span(), "a string", value);
            return None;
        };
        Some(Spanned::new(Secret::new(text.to_owned()), name.span()))
    }

    pub fn bool(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        self.read(key, "`true` or `false`", DeValue::as_bool)
    }

    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<Spanned<T>>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let number = self.read(key, "an integer", value::integer)?;
        match number.value.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number))
        {
            Some(accepted) => Some(Spanned::new(accepted, number.place())),
            None => {
                let message = format!("must be between {} and {}", range.start(), range.end());
                self.problems.push(number.place(), Kind::Value, message, None);
                None
            }
        }
    }

    /// `"250ms"`, `"10s"`, `"5m"`, `"1h30m"`, `"7d"`.
    pub fn duration(&mut self, key: &'static str) -> Option<Spanned<Duration>> {
        let text =
            self.read(key, "a duration such as `\"30s\"`", |value| value.as_str().map(str::to_owned))?;
        self.convert(text, quantity::duration)
    }

    /// Bytes: an integer, or `"50m"`, `"50MiB"`; `k`, `m` and `g` count by 1024.
    pub fn byte_size(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let text = self.read(key, "a size such as `\"50m\"`", |value| {
            let number = value.as_integer().filter(|number| number.radix() == 10);
            number.map(|number| number.as_str()).or_else(|| value.as_str()).map(str::to_owned)
        })?;
        self.convert(text, quantity::byte_size)
    }

    /// A string that `T` understands; what `T` says otherwise is reported at the value.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        let text = self.string(key)?;
        self.convert(text, T::from_str)
    }

    /// An array of strings that `T` understands. Items with a mistake are reported and left out.
    pub fn parsed_list<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &'static str,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        let (_, list) = self.take(key)?;
        let Some(items) = list.get_ref().as_array() else {
            self.wrong(list.span(), "an array of strings", list);
            return None;
        };
        let mut accepted = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => {
                    let text = Spanned::new(text.to_owned(), item.span());
                    accepted.extend(self.convert(text, T::from_str));
                }
                None => self.wrong(item.span(), "a string", item),
            }
        }
        Some(Spanned::new(accepted, list.span()))
    }

    /// A table of strings, in the order of the file: `set = { "Cache-Control" = "no-store" }`.
    pub fn string_map(&mut self, key: &'static str) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
        let (_, map) = self.take(key)?;
        let Some(entries) = map.get_ref().as_table() else {
            self.wrong(map.span(), "a table of strings", map);
            return None;
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (name, value) in in_order(entries) {
            match value.get_ref().as_str() {
                Some(text) => pairs.push((named(name), Spanned::new(text.to_owned(), value.span()))),
                None => self.wrong(value.span(), "a string", value),
            }
        }
        Some(pairs)
    }

    /// `[edge]`, or `edge = { .. }`.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let (_, value) = self.take(key)?;
        self.as_table(value, format!("`{key}`"))
    }

    /// `[[expose]]`, or inline tables in an array, in the order of the file; none where the key is not written.
    pub fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some((_, list)) = self.take(key) else { return Vec::new() };
        let Some(items) = list.get_ref().as_array() else {
            self.wrong(list.span(), "an array of tables", list);
            return Vec::new();
        };
        let named = items.iter().enumerate().map(|(at, item)| (format!("`{key}` number {}", at + 1), item));
        named.filter_map(|(name, item)| self.as_table(item, name)).collect()
    }

    /// `[service.NAME]`, with the names, in the order of the file; none where the key is not written.
    pub fn named_tables(&mut self, key: &'static str) -> Vec<(Spanned<String>, Self)> {
        let Some((_, parent)) = self.take(key) else { return Vec::new() };
        let Some(entries) = parent.get_ref().as_table() else {
            self.wrong(parent.span(), "tables by name", parent);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(entries.len());
        for (name, value) in in_order(entries) {
            if let Some(table) = self.as_table(value, format!("`{key}.{}`", name.get_ref())) {
                tables.push((named(name), table));
            }
        }
        tables
    }

    fn take(&mut self, key: &'static str) -> Option<(&'a Key<'a>, &'a Value<'a>)> {
        self.asked.push(key);
        self.entries.get_key_value(key)
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&DeValue<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let (_, value) = self.take(key)?;
        let converted = convert(value.get_ref());
        if converted.is_none() {
            self.wrong(value.span(), expected, value);
        }
        converted.map(|converted| Spanned::new(converted, value.span()))
    }

    fn convert<T, E: fmt::Display>(
        &self,
        text: Spanned<String>,
        convert: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        match convert(&text.value) {
            Ok(value) => Some(Spanned::new(value, text.place())),
            Err(error) => {
                self.problems.push(text.place(), Kind::Value, error.to_string(), None);
                None
            }
        }
    }

    fn as_table(&self, value: &'a Value<'a>, name: String) -> Option<Self> {
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong(value.span(), "a table", value);
            return None;
        };
        Some(self.child(entries, value.span().into(), name))
    }

    fn wrong(&self, at: impl Into<Place>, expected: &str, found: &Value<'_>) {
        let message = format!("expected {expected}, found {}", kind(found.get_ref()));
        self.problems.push(at.into(), Kind::Value, message, None);
    }

    fn suffix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) }
    }
}

fn named(key: &Key<'_>) -> Spanned<String> {
    Spanned::new(key.get_ref().to_string(), key.span())
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let asked = &self.asked;
        for (key, _) in self.entries.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let hint = nearest(name, asked.iter().copied()).map(|known| format!("did you mean `{known}`?"));
            let message = format!("unknown key `{name}`{}", self.suffix());
            self.problems.push(key.span().into(), Kind::Value, message, hint);
        }
    }
}

impl fmt::Debug for Table<'_> {
    // Not the entries: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}
