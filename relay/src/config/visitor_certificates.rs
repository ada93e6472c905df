//! `[[visitor_certificate]]`: hostnames whose visitors show a certificate.

use std::collections::HashSet;
use std::path::PathBuf;

use process::document::Table;
use protocol::hostname::HostnamePattern;

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VisitorCertificate {
    pub(crate) hostnames: Vec<HostnamePattern>,
    /// PEM; the authorities whose certificates count.
    pub(crate) ca_file: PathBuf,
}

/// Reads all sections. A hostname that stands in two of them is a mistake: it would be guesswork whose certificates count.
pub(super) fn visitor_certificates(tables: Vec<Table<'_>>) -> Vec<VisitorCertificate> {
    let mut taken = HashSet::new();
    tables.into_iter().filter_map(|table| visitor_certificate(table, &mut taken)).collect()
}

fn visitor_certificate(
    mut table: Table<'_>,
    taken: &mut HashSet<HostnamePattern>,
) -> Option<VisitorCertificate> {
    let hostnames = table.required("hostnames", Table::parsed_list::<HostnamePattern>);
    let ca_file = table.required_string("ca_file");
    let hostnames = hostnames?;
    if hostnames.value.is_empty() {
        table.problems().add(hostnames.place(), "there is no hostname here");
    }
    for hostname in &hostnames.value {
        if !taken.insert(hostname.value.clone()) {
            table.problems().add(hostname, "this hostname has such a section already");
        }
    }
    let hostnames = hostnames.value.into_iter().map(process::document::Spanned::into_inner).collect();
    Some(VisitorCertificate { hostnames, ca_file: ca_file?.value.into() })
}

#[cfg(test)]
mod tests {
    use process::document::Mistake;

    use super::super::parse;

    fn mistakes(text: &str) -> Vec<usize> {
        let rejected = parse("relay.toml", &format!("name = \"relay.example.com\"\n{text}")).unwrap_err();
        rejected.mistakes().iter().filter_map(Mistake::line).collect()
    }

    #[test]
    fn sections_say_which_hostnames_and_whose_certificates() {
        let text = "name = \"relay.example.com\"\n[[visitor_certificate]]\n\
                    hostnames = [\"admin.example.com\", \"*.lab.example.com\"]\nca_file = \"family.pem\"";
        let config = parse("relay.toml", text).unwrap().below("/etc/adit".as_ref());
        let [rule] = &config.visitor_certificates[..] else { panic!("{config:?}") };
        assert_eq!(rule.hostnames[1].as_str(), "*.lab.example.com");
        assert_eq!(rule.ca_file, std::path::Path::new("/etc/adit/family.pem"));
    }

    #[test]
    fn what_would_ask_nobody_or_leave_open_whom_to_believe_is_a_mistake() {
        let section = "[[visitor_certificate]]\n";
        assert_eq!(mistakes(&format!("{section}hostnames = []\nca_file = \"a\"")), [3]);
        assert_eq!(
            mistakes(&format!("{section}hostnames = [\"*\", \"a.example.com\"]\nca_file = \"a\"")),
            [3]
        );
        assert_eq!(mistakes(&format!("{section}hostnames = [\"a.example.com\"]")), [2]);
        assert_eq!(mistakes(&format!("{section}ca_file = \"a\"\nca = 1")), [2, 4]);
        let one = format!("{section}hostnames = [\"a.example.com\"]\nca_file = \"a\"\n");
        assert_eq!(mistakes(&format!("{one}{one}")), [6]);
    }

    #[test]
    fn a_proxy_header_is_expected_of_somebody() {
        assert_eq!(mistakes("[edge]\nproxy_protocol = true"), [3]);
        assert_eq!(mistakes("[edge]\nproxy_protocol = true\ntrusted_proxies = []"), [3]);
        let text = "name = \"relay.example.com\"\n[edge]\nproxy_protocol = true\ntrusted_proxies = [\"::1\"]";
        assert!(parse("relay.toml", text).unwrap().edge.proxy_protocol);
        let text = "name = \"relay.example.com\"\n[edge]\nproxy_protocol = false";
        assert!(!parse("relay.toml", text).unwrap().edge.proxy_protocol);
    }
}
