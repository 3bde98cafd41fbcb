//! The pages that a backup holds, and those that it leaves to the backups before it, as files.
//!
//! Each list is written in parts, `pages.zst`, `pages.0001.zst` and so on, which are whole and
//! synced one after the other: a backup that was cut off goes on after the last of them.

use super::manifest::Piece;
use super::packer::Packer;
use super::seal::Seal;
use super::{AGAIN, KEPT, KEPT_MAGIC, PAGES, PAGES_MAGIC};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::page::Page;
use crate::types::{Lsn, PageId};

/// The name of part `number` of the list `name`.
pub(super) fn part_name(name: &str, number: u32) -> String {
    match (number, name.strip_suffix(".zst")) {
        (1.., Some(stem)) => format!("{stem}.{number:04}.zst"),
        _ => name.to_owned(),
    }
}

/// True for a part of any list.
pub(super) fn is_part(name: &str) -> bool {
    let is_number = |rest: &str| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|digits| {
                digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    [PAGES, KEPT, AGAIN].iter().any(|list| {
        let stem = list.trim_end_matches(".zst");
        let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".zst"));
        rest.is_some_and(is_number)
    })
}

/// Where the files go, and what seals them.
#[derive(Clone, Copy)]
pub(super) struct To<'t> {
    pub target: &'t dyn Disk,
    pub seal: Option<&'t Seal>,
}

/// A compressed list with an end mark and a count.
struct Part {
    packer: Packer,
    name: String,
    count: u32,
}

impl Part {
    fn create(to: To<'_>, name: String, head: &[&[u8]]) -> Result<Part> {
        let mut packer = Packer::create(to.target, &name, to.seal)?;
        for part in head {
            packer.write(part)?;
        }
        Ok(Part { packer, name, count: 0 })
    }

    fn pages(to: To<'_>, name: String, size: usize) -> Result<Part> {
        Part::create(to, name, &[&PAGES_MAGIC, &(size as u32).to_le_bytes()])
    }

    fn put(&mut self, id: PageId, rest: &[u8]) -> Result<()> {
        self.packer.write(&id.0.to_le_bytes())?;
        self.count += 1;
        self.packer.write(rest)
    }

    fn finish(mut self) -> Result<Piece> {
        self.packer.write(&PageId::NONE.0.to_le_bytes())?;
        self.packer.write(&self.count.to_le_bytes())?;
        let (bytes, hash) = self.packer.finish()?;
        Ok(Piece { name: self.name, bytes, hash, restored_bytes: 0 })
    }
}

/// The parts that are being written, of every list.
pub(super) struct Lists<'t> {
    to: To<'t>,
    size: usize,
    /// Pages that have not changed since this are left to the backups before.
    before: Option<Lsn>,
    open: Option<(Part, Option<Part>)>,
    /// Bytes of pages that went by since these parts were begun.
    passed: u64,
}

impl<'t> Lists<'t> {
    /// Begins part `number` of each list.
    pub fn create(to: To<'t>, size: usize, before: Option<Lsn>, number: u32) -> Result<Lists<'t>> {
        let mut lists = Lists { to, size, before, open: None, passed: 0 };
        lists.begin(number)?;
        Ok(lists)
    }

    /// Begins the next parts, after the others were ended.
    pub fn begin(&mut self, number: u32) -> Result<()> {
        let pages = Part::pages(self.to, part_name(PAGES, number), self.size)?;
        let kept = || Part::create(self.to, part_name(KEPT, number), &[&KEPT_MAGIC]);
        self.open = Some((pages, self.before.map(|_| kept()).transpose()?));
        self.passed = 0;
        Ok(())
    }

    pub fn put(&mut self, id: PageId, page: &Page) -> Result<()> {
        let Some((pages, kept)) = &mut self.open else {
            return Err(Error::internal("a page for a list that was ended"));
        };
        self.passed += self.size as u64;
        match (kept, self.before) {
            (Some(kept), Some(before)) if page.lsn() <= before => {
                kept.put(id, &page.lsn().0.to_le_bytes())
            }
            _ => pages.put(id, page.bytes()),
        }
    }

    /// Bytes of pages since the parts were begun.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Ends the parts, durably; answers their pieces, and how many pages they hold.
    pub fn end(&mut self) -> Result<(Vec<Piece>, u64)> {
        let Some((pages, kept)) = self.open.take() else { return Ok((Vec::new(), 0)) };
        let count = u64::from(pages.count);
        let mut pieces = vec![pages.finish()?];
        if let Some(kept) = kept {
            pieces.push(kept.finish()?);
        }
        self.to.target.sync_dir("")?;
        Ok((pieces, count))
    }
}

/// Pages that changed after they were copied, before the backup went on: they are taken again.
pub(super) struct Again(Part);

impl Again {
    pub fn create(to: To<'_>, size: usize) -> Result<Again> {
        Part::pages(to, AGAIN.to_owned(), size).map(Again)
    }

    pub fn put(&mut self, id: PageId, page: &Page) -> Result<()> {
        self.0.put(id, page.bytes())
    }

    pub fn finish(self) -> Result<(Piece, u64)> {
        let count = u64::from(self.0.count);
        Ok((self.0.finish()?, count))
    }
}
