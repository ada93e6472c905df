//! The local CA of a device: how its root comes into the stores of browsers, and out of them. Everything happens in a home of
//! its own, as a user who may change nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::binaries::binaries;
use tests::program::text;

use crate::enrollment::stderr;

/// Where this runs as root, who it is instead: root's store is the machine's.
const NOBODY: u32 = 65_534;
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

struct Person {
    home: TempDir,
    programs: TempDir,
}

impl Person {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        // The folder that it was built in may be root's alone.
        let programs = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder");
        fs::copy(&binaries().agent, programs.path().join("agent")).expect("the agent can be copied");
        if is_root() {
            chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
        }
        Self { home, programs }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.home.path()).env("PATH", PATH);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn trust(&self, arguments: &[&str]) -> Output {
        self.trust_with(PATH, arguments)
    }

    fn trust_with(&self, path: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(&text(&self.programs.path().join("agent")));
        command.arg("trust").args(arguments).env("PATH", path).output().expect("the agent runs")
    }

    fn certutil(&self, database: &str, arguments: &[&str]) -> String {
        let database = format!("sql:{}", self.home.path().join(database).display());
        let mut command = self.command("certutil");
        let output = command.args(arguments).args(["-d", &database]).output();
        let output = output.expect("certutil runs; `.ci/run` installs it");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Lines of the list of a database, each a name and what it is trusted for.
    fn trusted(&self, database: &str) -> Vec<String> {
        let list = self.certutil(database, &["-L"]);
        list.lines().filter(|line| line.starts_with("Adit on ")).map(str::to_owned).collect()
    }

    fn profile(&self, folder: &str) {
        let mut command = self.command("mkdir");
        let path = self.home.path().join(folder);
        assert!(command.arg("-p").arg(&path).status().expect("mkdir runs").success());
        self.certutil(folder, &["-N", "--empty-password"]);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs certutil of libnss3-tools"]
fn a_root_is_in_every_browsers_database_until_it_is_removed() {
    const CHROMIUM: &str = ".pki/nssdb";
    const FIREFOX: &str = ".mozilla/firefox/abcd1234.default-release";
    let person = Person::new();
    person.profile(FIREFOX);
    let said = stdout(&person.trust(&["koda.localhost"]));
    assert!(said.contains("is good for koda.localhost and everything below"), "{said}");
    assert_eq!(said.matches("installed in the NSS database").count(), 2, "{said}");
    for database in [CHROMIUM, FIREFOX] {
        let trusted = person.trusted(database);
        assert!(trusted.len() == 1 && trusted[0].trim_end().ends_with("C,,"), "{trusted:?}");
    }
    let again = stdout(&person.trust(&[]));
    assert_eq!(again.matches("already in the NSS database").count(), 2, "{again}");

    let grown = stdout(&person.trust(&["notes.localhost"]));
    assert!(grown.contains("is good for koda.localhost, notes.localhost and"), "{grown}");
    assert_eq!(grown.matches("replaced in the NSS database").count(), 2, "{grown}");
    let name = grown.split('`').nth(1).expect("the name of the root");
    let printed = stdout(&person.trust(&["--print"]));
    for database in [CHROMIUM, FIREFOX] {
        assert_eq!(person.trusted(database).len(), 1);
        let held = person.certutil(database, &["-L", "-a", "-n", name]).replace('\r', "");
        assert_eq!(held.trim_end(), printed.trim_end());
    }

    let removed = stdout(&person.trust(&["--remove"]));
    assert_eq!(removed.matches("removed from the NSS database").count(), 2, "{removed}");
    for database in [CHROMIUM, FIREFOX] {
        assert_eq!(person.trusted(database), Vec::<String>::new());
    }
    let nothing = stdout(&person.trust(&["--remove"]));
    assert_eq!(nothing.matches("not in the NSS database").count(), 2, "{nothing}");
}

#[test]
#[ignore = "needs certutil of libnss3-tools"]
fn a_store_that_fails_keeps_no_other_from_being_changed() {
    const BROKEN: &str = ".mozilla/firefox/broken.default";
    let person = Person::new();
    person.profile(BROKEN);
    let path: PathBuf = person.home.path().join(BROKEN).join("cert9.db");
    fs::write(&path, "no database").expect("a file can be written");
    let output = person.trust(&["koda.localhost"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("installed in the NSS database").count(), 1, "{said}");
    assert_eq!(person.trusted(".pki/nssdb").len(), 1);
    let error = stderr(&output);
    assert!(error.starts_with("error: not installed in the NSS database"), "{error}");
    assert!(error.contains(BROKEN) && error.contains("certutil") && error.contains("hint:"), "{error}");
}

#[test]
fn without_certutil_the_package_and_the_steps_by_hand_are_named() {
    let person = Person::new();
    let output = person.trust_with("/nonexistent", &["koda.localhost"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    for part in ["error: not installed in", "`certutil`", "libnss3-tools", "`agent trust --print`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_ca_is_made_for_a_name_and_printed_alone() {
    let person = Person::new();
    let missing = person.trust(&["--print"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        stderr(&missing),
        "error: there is no local CA on this device yet\n\
         hint: make one with `agent trust HOSTNAME`, such as `agent trust koda.localhost`\n"
    );
    assert_eq!(stdout(&person.trust(&["--remove"])), "there is no local CA here: nothing to remove\n");
    for broad in ["com", "co.uk", "*.localhost"] {
        assert_eq!(person.trust(&["--print", broad]).status.code(), Some(2), "{broad}");
    }
    let printed = stdout(&person.trust(&["--print", "koda.localhost"]));
    assert!(printed.starts_with("-----BEGIN CERTIFICATE-----\n"), "{printed}");
    assert!(printed.ends_with("-----END CERTIFICATE-----\n"), "{printed}");
    assert_eq!(stdout(&person.trust(&["--print"])), printed);
    let folder = person.home.path().join(".local/state/adit/local-ca");
    let mode = |file: PathBuf| fs::metadata(file).expect("a file").mode() & 0o777;
    assert_eq!((mode(folder.join("ca-key.pem")), mode(folder)), (0o600, 0o700));
}
