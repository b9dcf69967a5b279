//! A real S3 server: `s3s-fs` from crates.io, which `make buckets` installs and names. It keeps objects as files.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// A running server.
pub struct RealS3 {
    pub endpoint: String,
    folder: TempDir,
    process: Child,
}

impl RealS3 {
    /// Starts it. Without the program it says so, and returns `None`.
    pub async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("TRAINYARD_TEST_S3") else {
            println!("not tried: TRAINYARD_TEST_S3 does not name the program s3s-fs, as `make buckets` does");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut process = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &free.port().to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(free).await.is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "the server ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { endpoint: format!("http://{free}"), folder, process })
    }

    /// Returns the bytes of an object, as they are on the disk.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.path().join(BUCKET).join(key)).ok()
    }

    /// Writes an object as somebody else.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.folder.path().join(BUCKET).join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for RealS3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
