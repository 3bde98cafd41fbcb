//! A mirror whose disk does not answer: nobody waits for it for ever.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::tests::*;
use super::*;
use crate::backup::tests::*;
use crate::disk::faults::{Call, FaultDisk};
use crate::disk::memory::MemoryDisk;
use crate::log::gate::Patience;
use crate::store::Store;
use crate::sync::Arc;
use crate::txn::TreeRef;

struct Hung {
    store: Store,
    tree: TreeRef,
    primary: Arc<MemoryDisk>,
    mirror: Arc<MemoryDisk>,
    disk: Arc<FaultDisk>,
    follower: Arc<Follower>,
}

/// A database at work, with a mirror that follows until no `call` to its disk comes back.
fn hung(seed: u64, call: Call, is_synchronous: bool, gives_up: bool) -> Hung {
    let (primary, mirror) = (MemoryDisk::new(seed), MemoryDisk::new(seed + 1));
    let (store, tree) = bank(primary.clone(), true);
    let disk = FaultDisk::over_memory(mirror.clone());
    let follower = store.mirrors().add_on(PLACE, disk.clone(), is_synchronous).unwrap();
    while follower.status().phase != Phase::Following || follower.status().is_in_step != is_synchronous {
        std::thread::yield_now();
    }
    let patience = Patience { time: Duration::from_millis(40), gives_up };
    store.shared().core.log.set_patience(patience);
    disk.block(call);
    Hung { store, tree, primary, mirror, disk, follower }
}

fn change(hung: &Hung, number: u64) -> crate::error::Result<()> {
    let mut txn = begin(&hung.store);
    txn.put(hung.tree, &account(number), &amount(7)).unwrap();
    txn.commit().map(|_| ())
}

fn await_lost(hung: &Hung) -> crate::error::Error {
    while hung.follower.status().phase != Phase::Lost {
        hung.follower.look_after();
        std::thread::yield_now();
    }
    hung.follower.status().error.unwrap()
}

#[test]
fn a_close_does_not_wait_for_a_mirror_whose_disk_does_not_answer() {
    for (seed, call) in [(2001, Call::Write), (2011, Call::Sync)] {
        let hung = hung(seed, call, false, true);
        change(&hung, 1).unwrap();
        hung.disk.await_blocked();
        change(&hung, 2).unwrap();
        hung.store.checkpoint().unwrap();
        let error = await_lost(&hung);
        assert!(error.to_string().contains("not answered"), "{error}");
        let before = contents(&hung.store, hung.tree);
        hung.store.close().unwrap();
        // What comes back late does nothing any more: others may have taken over.
        let standing = Standing::read(&*hung.primary).unwrap();
        let Hung { store, primary, mirror, disk, follower, .. } = hung;
        drop((store, follower));
        disk.heal();
        let store = Store::open(primary.clone(), &options(false)).unwrap();
        assert!(contents(&store, tree_of(&store)) == before);
        assert!(Standing::read(&*primary).unwrap() == standing);
        let back = store.mirrors().attach_on(PLACE, mirror.clone()).unwrap();
        back.step().unwrap();
        assert_eq!(back.status().copies, 0, "it caught up from the log");
        store.close().unwrap();
        drop((back, store));
        let taken = taken_over(&mirror, None);
        assert!(contents(&taken, tree_of(&taken)) == before);
    }
}

#[test]
fn commits_go_on_without_a_synchronous_mirror_that_does_not_answer_or_are_told() {
    for gives_up in [true, false] {
        let hung = hung(2021, Call::Sync, true, gives_up);
        let done = change(&hung, 1);
        let told = done.err().map(|error| error.code);
        assert_eq!(told, (!gives_up).then_some(Code::MirrorNotReached));
        await_lost(&hung);
        assert_eq!(change(&hung, 2).is_ok(), gives_up);
        assert_eq!(number(&mut begin(&hung.store), hung.tree, &account(2)), 7);
        hung.store.close().unwrap();
        hung.disk.heal();
    }
}

#[test]
fn a_mirror_that_answers_again_follows_again() {
    let hung = hung(2031, Call::Write, false, true);
    change(&hung, 1).unwrap();
    hung.disk.await_blocked();
    await_lost(&hung);
    hung.disk.heal();
    while hung.follower.status().phase != Phase::Following || hung.follower.status().lag_bytes > 0 {
        std::thread::yield_now();
    }
    assert_eq!(hung.follower.status().copies, 1);
    hung.store.close().unwrap();
}

#[test]
fn a_mirror_whose_disk_does_not_answer_can_be_removed() {
    let hung = hung(2041, Call::Write, false, true);
    change(&hung, 1).unwrap();
    hung.disk.await_blocked();
    let error = hung.store.mirrors().remove(PLACE, true).unwrap_err();
    assert_eq!(error.code, Code::MirrorIncomplete);
    assert!(hung.store.mirrors().status().is_empty());
    assert_eq!(Standing::read(&*hung.primary).unwrap().unwrap().mirrors, []);
    hung.disk.heal();
    hung.store.close().unwrap();
}
