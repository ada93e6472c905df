//! The ways in which editors, administrators and Kubernetes change a file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

async fn told(watch: &mut Watch) {
    let change = timeout(DEADLINE, watch.changed()).await.expect("the change is told");
    assert_eq!(change, Change::Files);
}

/// The events are looked at and nothing is told, but a true change after them is.
async fn not_told(watch: &mut Watch, path: &Path, events: impl FnOnce()) {
    events();
    assert_eq!(timeout(3 * SETTLE, watch.changed()).await.ok(), None);
    fs::write(path, "something else").unwrap();
    told(watch).await;
}

#[tokio::test]
async fn written_in_place_and_renamed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, "one").unwrap();
    let mut watch = Watch::new([path.clone()]).unwrap();
    fs::write(&path, "two").unwrap();
    told(&mut watch).await;
    for text in ["three", "four"] {
        fs::write(folder.path().join(".swap"), text).unwrap();
        fs::rename(folder.path().join(".swap"), &path).unwrap();
        told(&mut watch).await;
    }
    fs::remove_file(&path).unwrap();
    told(&mut watch).await;
    fs::write(&path, "five").unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn swapped_as_kubernetes_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mount = |version: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.toml"), version).unwrap();
        symlink(version, at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
    };
    mount("..1");
    symlink("..data/a.toml", at("a.toml")).unwrap();
    let mut watch = Watch::new([at("a.toml")]).unwrap();
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        mount(new);
        fs::remove_dir_all(at(old)).unwrap();
        told(&mut watch).await;
    }
    // And behind the symlinks, in place.
    fs::write(at("..3/a.toml"), "edited").unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn a_folder_that_comes_later_or_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conf/adit/a.toml");
    let mut watch = Watch::new([path.clone()]).unwrap();
    for text in ["one", "two"] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        told(&mut watch).await;
        fs::write(&path, "edited").unwrap();
        told(&mut watch).await;
        fs::remove_dir_all(folder.path().join("conf")).unwrap();
        told(&mut watch).await;
    }
}

#[tokio::test]
async fn nothing_is_told_where_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    fs::write(&path, "same").unwrap();
    let mut watch = Watch::new([path.clone()]).unwrap();
    not_told(&mut watch, &path, || {
        fs::read(&path).unwrap();
        fs::write(folder.path().join("neighbour"), "noise").unwrap();
        fs::write(&path, "same").unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_set_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.toml"), other.path().join("cert.pem"));
    let mut watch = Watch::new([first.clone()]).unwrap();
    watch.watch_also([second.clone(), first.clone()]);
    fs::write(&second, "one").unwrap();
    told(&mut watch).await;
    watch.replace([second.clone()]);
    not_told(&mut watch, &second, || fs::write(&first, "not watched").unwrap()).await;
}

#[tokio::test]
async fn a_dropped_call_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let mut watch = Watch::new([path.clone()]).unwrap();
    fs::write(&path, "one").unwrap();
    while watch.due.is_none() {
        let _ = timeout(Duration::from_millis(1), watch.changed()).await;
    }
    told(&mut watch).await;
}
