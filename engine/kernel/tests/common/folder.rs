//! A folder for one test, on the real disk, which goes with it.

use std::path::PathBuf;

pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one; `name` tells it from those of other tests of this process.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("holdfast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
