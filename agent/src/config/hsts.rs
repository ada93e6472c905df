//! Reads what browsers have to remember of a hostname: `hsts = "365d"`, or `hsts = { max_age = "365d", .. }`.

use std::time::Duration;

use process::document::{Problems, Spanned, Table};
use protocol::control::{HeaderEdit, HeaderRule};
use protocol::hsts::Hsts;

/// The field that this sets, as [`protocol::field`] writes names.
const FIELD: &str = "strict-transport-security";

/// `everywhere` and `rules` are what else the hostname's responses carry.
pub(super) fn read(table: &mut Table<'_>, everywhere: &HeaderEdit, rules: &[HeaderRule]) -> Option<Hsts> {
    let problems = table.problems();
    let hsts = if table.holds_table("hsts") { long(table.table("hsts")?) } else { short(table) }?;
    if let Err(error) = hsts.value.check() {
        problems.add(&hsts, error.to_string());
    }
    let mut edits = rules.iter().map(|rule| &rule.edit).chain([everywhere]);
    if edits.any(|edit| edit.set.contains_key(FIELD)) {
        let message = "`Strict-Transport-Security` is set among the response headers as well";
        problems.add_with_hint(&hsts, message, "keep `hsts`, which the relay's own pages carry too");
    }
    Some(hsts.value)
}

fn short(table: &mut Table<'_>) -> Option<Spanned<Hsts>> {
    let max_age = table.duration("hsts")?;
    let max_age_s = seconds(&max_age, table.problems())?;
    Some(max_age.map(|_| Hsts { max_age_s, ..Hsts::default() }))
}

fn long(mut table: Table<'_>) -> Option<Spanned<Hsts>> {
    let max_age = table.required("max_age", Table::duration);
    let mut flag = |key| table.bool(key).is_some_and(|flag| flag.value);
    let (include_subdomains, preload) = (flag("include_subdomains"), flag("preload"));
    let max_age_s = seconds(&max_age?, table.problems())?;
    Some(Spanned::new(Hsts { max_age_s, include_subdomains, preload }, table.place()))
}

/// Half a second would reach browsers as zero, which makes them forget.
fn seconds(max_age: &Spanned<Duration>, problems: &Problems) -> Option<u64> {
    if max_age.value.subsec_nanos() != 0 {
        problems.add(max_age, "browsers count whole seconds");
        return None;
    }
    Some(max_age.value.as_secs())
}
