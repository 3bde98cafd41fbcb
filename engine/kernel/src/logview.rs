//! The log as a person reads it: what each entry did to which pages, never what was stored.

use crate::error::Result;
use crate::log::{Entry, Op};
use crate::page::{PartReader, get_u64};
use crate::txn::{Shared, newest_rows};
use crate::types::{Lsn, PageId, TreeId, TxnId};

use std::collections::HashMap;

/// One entry without its data.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub lsn: Lsn,
    pub end: Lsn,
    pub txn: TxnId,
    pub op: &'static str,
    pub bytes: u64,
    pub pages: Vec<PageId>,
    pub tree: Option<String>,
    /// The time of a commit or the end of an abort, in microseconds since the Unix epoch.
    pub at: Option<i64>,
}

/// Up to `limit` entries from the first one at or after `from` on, in order. A position before
/// the oldest log, or within an entry, is moved on to the next entry.
pub fn read_log(shared: &Shared, from: Lsn, limit: usize) -> Result<Vec<LogLine>> {
    let log = &shared.core.log;
    let end = log.end();
    // What a failed log still holds in memory only is nobody's history.
    let _ = log.write_to(end);
    let Some(mut at) = log.first_entry_from(from)? else { return Ok(Vec::new()) };
    let names = tree_names(shared);
    let mut lines = Vec::new();
    while at < end && lines.len() < limit {
        let entry = log.read(at)?;
        at = entry.header.end();
        lines.push(line(&entry, &names)?);
    }
    Ok(lines)
}

/// Names of the trees that there are; others are told by number. Damage hides names, no more.
fn tree_names(shared: &Shared) -> HashMap<TreeId, String> {
    let rows = newest_rows(&shared.core).unwrap_or_default();
    let shown = |name: String| name.replace('\0', ".");
    let mut names: HashMap<_, _> = rows.into_iter().map(|row| (row.tree.id, shown(row.name))).collect();
    names.insert(crate::core::CATALOGUE, "catalogue".to_owned());
    names
}

fn line(entry: &Entry, names: &HashMap<TreeId, String>) -> Result<LogLine> {
    let header = &entry.header;
    let (mut pages, mut tree, mut at) = (Vec::new(), None, None);
    match header.op {
        Op::Commit | Op::AbortEnd => {
            at = (entry.body.len() >= 8).then(|| get_u64(&entry.body, 0).cast_signed());
        }
        Op::CheckpointBegin | Op::CheckpointEnd | Op::Group => {}
        Op::PagesWritten => {
            let page = |item: &[u8]| PageId(crate::page::get_u32(item, 0));
            pages.extend(entry.body.chunks_exact(12).map(page));
        }
        _ => {
            let mut parts = PartReader::new(&entry.body)?;
            let id = parts.tree();
            while let Some((page, ..)) = parts.next_raw()? {
                if !pages.contains(&page) {
                    pages.push(page);
                }
            }
            tree = (id != TreeId(0))
                .then(|| names.get(&id).cloned().unwrap_or_else(|| format!("tree {id}")));
        }
    }
    Ok(LogLine {
        lsn: header.lsn,
        end: header.end(),
        txn: header.txn,
        op: header.op.name(),
        bytes: u64::from(header.len),
        pages,
        tree,
        at,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::memory::MemoryDisk;
    use crate::store::{Store, StoreOptions};
    use crate::txn::Isolation;

    fn store() -> Store {
        let disk: Arc<dyn Disk> = MemoryDisk::new(1);
        let mut options = StoreOptions { background: false, ..StoreOptions::default() };
        options.opening.log.segment_bytes = 1 << 20;
        options.opening.log.buffer_bytes = 1 << 20;
        options.opening.log.background = false;
        Store::create(disk, &options).unwrap()
    }

    fn put(store: &Store, key: &[u8], value: &[u8]) -> u64 {
        let mut txn = store.begin(Isolation::RepeatableRead, false).unwrap();
        let tree = txn.tree("t", true).unwrap().unwrap();
        txn.put(tree, key, value).unwrap();
        txn.commit().unwrap();
        txn.id().0
    }

    #[test]
    fn entries_tell_what_was_done_and_never_what_was_stored() {
        let store = store();
        let txn = put(&store, b"the key", b"a secret");
        let lines = read_log(store.shared(), Lsn::NONE, 10_000).unwrap();
        assert!(lines.windows(2).all(|pair| pair[0].end == pair[1].lsn));
        assert_eq!(lines.last().unwrap().end, store.shared().core.log.end());
        let own: Vec<&LogLine> = lines.iter().filter(|line| line.txn.0 == txn).collect();
        let ops: Vec<&str> = own.iter().map(|line| line.op).collect();
        assert_eq!(ops, ["TreeMade", "Insert", "Insert", "Commit"]);
        assert_eq!(own[2].tree.as_deref(), Some("t"));
        assert_eq!(own[2].pages.len(), 1);
        assert!(own[3].at.unwrap() > 0);
        assert!(!format!("{lines:?}").contains("secret"));
    }

    #[test]
    fn reading_begins_at_the_next_entry_from_any_position() {
        let store = store();
        // Several segments, and entries that run from one into the next.
        for i in 0..120u64 {
            put(&store, &i.to_be_bytes(), &[i as u8; 60_000]);
        }
        let all = read_log(store.shared(), Lsn::NONE, usize::MAX).unwrap();
        assert!(store.shared().core.log.status().rotations > 2);
        for pair in all.windows(2).step_by(7) {
            for inside in [pair[0].lsn.0 + 1, pair[0].end.0 - 1, pair[1].lsn.0] {
                let found = read_log(store.shared(), Lsn(inside), 3).unwrap();
                assert_eq!(found.first(), Some(&pair[1]));
            }
        }
        store.checkpoint().unwrap();
        let kept = read_log(store.shared(), Lsn::NONE, usize::MAX).unwrap();
        assert!(kept[0].lsn > all[0].lsn && kept.len() > 2);
        assert!(read_log(store.shared(), Lsn(u64::MAX), 5).unwrap().is_empty());
    }
}
