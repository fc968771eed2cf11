//! Which files have changed since a moment, by the kernel's own note of it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Root;
use crate::error::{Error, Result};

impl Root {
    /// Those of `files` that were written, replaced or given to another owner after `time`;
    /// none if there is no such time. A time of modification can be set by anybody who copies a
    /// file; that of the last change of its inode cannot.
    pub fn changed_since(
        &self,
        files: &[PathBuf],
        time: Option<SystemTime>,
    ) -> Result<Vec<PathBuf>> {
        let Some(time) = time else { return Ok(Vec::new()) };
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let [since, now] =
            [since, now].map(|t| (i128::from(t.as_secs()), i128::from(t.subsec_nanos())));
        let mut changed = Vec::new();
        for path in files {
            let Some(file) = self.open_file(path)? else { continue };
            let meta = file.metadata().map_err(|e| {
                Error::host("cannot look at it").at(self.path(path).display()).because(e)
            })?;
            let at = (i128::from(meta.ctime()), i128::from(meta.ctime_nsec()));
            // What the clock has yet to reach was written before it was set back.
            if at > since && at <= now {
                changed.push(path.clone());
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::root::Attr;

    #[test]
    fn what_was_written_later_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write("/a".as_ref(), b"a", Attr::own(0o644)).unwrap();
        let files = ["/a".into(), "/absent".into()];
        let hour = Duration::from_secs(3600);
        let now = SystemTime::now();
        assert_eq!(root.changed_since(&files, Some(now - hour)).unwrap(), files[..1]);
        assert!(root.changed_since(&files, Some(now + hour)).unwrap().is_empty());
        assert!(root.changed_since(&files, None).unwrap().is_empty());
    }
}
