//! Values beyond a quarter of a page lie in chains of overflow pages; the leaf keeps a reference.
//!
//! A chain carries a name of its own (transaction, number) on every page, so that a reader who
//! comes too late notices that a page has been given back and used again. It is written from its
//! end to its beginning, each page knowing the next, and given back in the same order.

use crate::core::Core;
use crate::error::{Code, Error, Result};
use crate::page::{Kind, Page, Shape};
use crate::types::{PageId, TreeId};

/// The longest value.
pub const MAX_VALUE: usize = 256 << 20;
const NAME: usize = 16;
/// Name and length before the data of each page.
const PREFIX: usize = NAME + 4;
pub const REFERENCE: usize = 4 + 8 + NAME;

/// Points from a leaf record to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    pub head: PageId,
    pub length: u64,
    pub name: [u8; NAME],
}

impl Reference {
    pub fn encode(&self) -> [u8; REFERENCE] {
        let mut bytes = [0; REFERENCE];
        bytes[..4].copy_from_slice(&self.head.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..].copy_from_slice(&self.name);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Reference> {
        let wrong = |detail: &str| {
            let error = Error::new(Code::PageDamaged).with("page_id", -1i64).with("tree", -1i64);
            error.with("detail", detail)
        };
        let bytes: &[u8; REFERENCE] =
            bytes.try_into().map_err(|_| wrong("a reference to a long value has the wrong length"))?;
        if crate::page::get_u64(bytes, 4) > MAX_VALUE as u64 {
            return Err(wrong("a reference names a value longer than any"));
        }
        let mut name = [0; NAME];
        name.copy_from_slice(&bytes[12..]);
        Ok(Reference {
            head: PageId(crate::page::get_u32(bytes, 0)),
            length: crate::page::get_u64(bytes, 4),
            name,
        })
    }
}

/// Data bytes in one overflow page.
pub fn capacity(page_size: usize) -> usize {
    page_size - crate::page::HEADER - PREFIX
}

/// The name of the `number`th chain of a transaction.
pub fn chain_name(txn: u64, number: u64) -> [u8; NAME] {
    let mut name = [0; NAME];
    name[..8].copy_from_slice(&txn.to_le_bytes());
    name[8..].copy_from_slice(&number.to_le_bytes());
    name
}

/// One page of a chain, before it is logged.
pub fn build_page(
    core: &Core,
    tree: TreeId,
    id: PageId,
    next: PageId,
    name: &[u8; NAME],
    data: &[u8],
) -> Page {
    let shape = Shape { id, kind: Kind::Overflow, level: 0, tree, right: next, low: &[], high: None };
    let mut page = Page::format(core.pool.page_size(), shape);
    let payload = page.payload_mut();
    payload[..NAME].copy_from_slice(name);
    payload[NAME..PREFIX].copy_from_slice(&(data.len() as u32).to_le_bytes());
    payload[PREFIX..PREFIX + data.len()].copy_from_slice(data);
    page
}

/// The data of an overflow page, if it belongs to the chain `name`.
pub(crate) fn piece<'p>(page: &'p Page, tree: TreeId, name: &[u8; NAME]) -> Option<&'p [u8]> {
    let payload = page.payload();
    let belongs = page.kind() == Kind::Overflow && page.tree() == tree && payload[..NAME] == *name;
    let length = crate::page::get_u32(payload, NAME) as usize;
    (belongs && length <= payload.len() - PREFIX).then(|| &payload[PREFIX..PREFIX + length])
}

/// Reads a long value. `None` where the chain is no longer there: the record has changed since
/// the reference was read, and has to be read again.
pub fn read(core: &Core, tree: TreeId, reference: Reference) -> Result<Option<Vec<u8>>> {
    let length = usize::try_from(reference.length).unwrap_or(usize::MAX);
    // No more than the file could hold: the length may be damaged.
    let most = core.pool.file_pages() as usize * core.pool.page_size();
    let mut value = Vec::new();
    crate::memory::reserve(&mut value, length.min(most), "read a long value")?;
    let mut at = reference.head;
    while value.len() < length {
        if at.is_none() {
            return Ok(None);
        }
        let page = core.pool.read(at)?;
        match piece(&page, tree, &reference.name) {
            Some(data) if !data.is_empty() && value.len() + data.len() <= length => {
                value.extend_from_slice(data)
            }
            _ => return Ok(None),
        }
        at = page.right();
    }
    Ok(Some(value))
}

/// A chain stays as long as a record refers to it: one that is broken all the same is damage.
pub fn broken(tree: TreeId, reference: Reference) -> Error {
    Error::new(Code::PageDamaged)
        .with("page_id", reference.head.0)
        .with("tree", i64::from(tree.0))
        .with("detail", "the pages of a long value are not all there")
}

/// The pages of a chain, from its head, as far as they still belong to it.
pub fn pages(core: &Core, tree: TreeId, reference: Reference) -> Result<Vec<PageId>> {
    let most = reference.length as usize / capacity(core.pool.page_size()) + 1;
    let mut found = Vec::new();
    let mut at = reference.head;
    while !at.is_none() && found.len() <= most {
        let page = core.pool.read(at)?;
        if piece(&page, tree, &reference.name).is_none() {
            break;
        }
        found.push(at);
        at = page.right();
    }
    Ok(found)
}
