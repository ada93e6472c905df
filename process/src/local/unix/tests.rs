//! Commands against a listening socket.

use std::pin::pin;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use super::*;

fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adit.sock");
    (folder, path)
}

/// Runs `commands` against a process that answers with twice the number.
async fn while_serving<T>(path: &Path, commands: impl Future<Output = T>) -> T {
    let cancel = CancellationToken::new();
    let listener = Listener::bind(path).unwrap();
    let serve = listener.serve(cancel.clone(), |number: u32| async move { vec![number; 2] });
    let commands = async {
        let result = commands.await;
        cancel.cancel();
        result
    };
    tokio::join!(serve, commands).1
}

#[tokio::test]
async fn answers_and_goes_away() {
    let (_folder, path) = socket();
    while_serving(&path, async {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for number in 0..100_u32 {
            let answer: Vec<u32> = call(&path, &number).await.unwrap();
            assert_eq!(answer, [number, number]);
        }
    })
    .await;
    let error = call::<_, u32>(&path, &1).await.unwrap_err();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_a_reason() {
    let (_folder, path) = socket();
    while_serving(&path, async {
        let error = call::<_, u32>(&path, &"no number").await.unwrap_err();
        assert!(matches!(&error, CallError::Refused { reason } if reason.contains("u32")), "{error}");
        let error = call::<_, String>(&path, &1).await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error}");

        let error = call::<_, u32>(&path, &"x".repeat(LARGEST_REQUEST)).await.unwrap_err();
        assert!(matches!(error, CallError::Broken { .. }), "{error}");
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_u32(u32::MAX).await.unwrap();
        let answer: Answer<u32> = frame::receive(&mut stream, LARGEST_ANSWER).await.unwrap();
        assert!(matches!(answer, Answer::Refused(_)));
    })
    .await;
}

#[tokio::test]
async fn too_large_an_answer_is_refused() {
    let (_folder, path) = socket();
    let cancel = CancellationToken::new();
    let serve = Listener::bind(&path).unwrap();
    let serve = serve.serve(cancel.clone(), |length: usize| async move { "x".repeat(length) });
    let commands = async {
        let error = call::<_, String>(&path, &LARGEST_ANSWER).await.unwrap_err();
        assert!(matches!(error, CallError::Refused { .. }), "{error}");
        let answer: String = call(&path, &(LARGEST_ANSWER - 100)).await.unwrap();
        assert_eq!(answer.len(), LARGEST_ANSWER - 100);
        cancel.cancel();
    };
    tokio::join!(serve, commands);
}

#[tokio::test]
async fn a_dead_process_is_replaced_and_a_living_one_is_not() {
    let (_folder, path) = socket();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = call::<_, u32>(&path, &1).await.unwrap_err();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error}");

    let living = Listener::bind(&path).unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    drop(living);
    assert!(!path.exists());
    Listener::bind(&path).unwrap();

    fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
}

#[tokio::test]
async fn folders_are_made_and_open_ones_refused() {
    let (folder, _) = socket();
    let path = folder.path().join("run/adit/a.sock");
    drop(Listener::bind(&path).unwrap());
    fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o770)).unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::OpenFolder { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_not_waited_for() {
    let (_folder, path) = socket();
    while_serving(&path, async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(&[0, 0, 0, 9, b'1']).await.unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(started.elapsed() >= REQUEST_DEADLINE);
    })
    .await;
}

#[tokio::test]
async fn work_ends_with_its_command() {
    struct Working(Arc<Notify>);
    impl Drop for Working {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    let (_folder, path) = socket();
    let cancel = CancellationToken::new();
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (handler_begun, handler_ended) = (Arc::clone(&begun), Arc::clone(&ended));
    let serve = Listener::bind(&path).unwrap();
    let serve = serve.serve(cancel.clone(), move |(): ()| {
        let working = Working(Arc::clone(&handler_ended));
        handler_begun.notify_one();
        async move {
            let _working = working;
            std::future::pending::<()>().await
        }
    });
    let commands = async {
        {
            let mut command = pin!(call::<_, ()>(&path, &()));
            tokio::select! {
                _ = &mut command => panic!("there is no answer"),
                () = begun.notified() => {}
            }
        }
        ended.notified().await;
        let deadline = Duration::from_millis(1);
        let error = call_within::<_, ()>(&path, &(), deadline).await.unwrap_err();
        assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
        cancel.cancel();
    };
    tokio::join!(serve, commands);
}
