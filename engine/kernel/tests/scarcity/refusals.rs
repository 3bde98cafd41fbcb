//! Every large piece of memory refused, from each one on, in all kinds of work: it is told, and the next
//! work goes on as if nothing had been.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use _kernel::backup;
use _kernel::disk::Disk;
use _kernel::disk::os::OsDisk;
use _kernel::error::{Code, Result};
use _kernel::moment::{self, Chain, KeepingDisk};
use _kernel::recovery::Progress;
use _kernel::reserve;
use _kernel::rows::compare::{Portion, Side, compare};
use _kernel::rows::export::export;
use _kernel::rows::import::{Plan, import};
use _kernel::rows::tables;
use _kernel::salvage::salvage;
use _kernel::store::{Ground, Store, StoreOptions};
use _kernel::txn::{Isolation, Transaction};

use super::budget::{alone, within, without_large};
use super::folder::Folder;

const LONG: usize = 3 << 20;
/// Amounts of memory that are too little, and runs of each work: where it asks for more large pieces than
/// that, the refusals begin at some of them. `HOLDFAST_REFUSALS=12` looks more closely.
fn runs() -> u32 {
    std::env::var("HOLDFAST_REFUSALS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A database at work, and what goes into and comes out of it.
struct Scene {
    folder: Folder,
    disk: Arc<dyn Disk>,
    store: Store,
    chain: Arc<Chain>,
}

fn options() -> StoreOptions {
    let mut options = StoreOptions { background: false, page_size: 4096, ..StoreOptions::default() };
    // More dirty pages than a large piece of memory has room to name.
    options.opening.cache_bytes = 120 << 20;
    options.opening.log.segment_bytes = 16 << 20;
    options.opening.log.background = false;
    options
}

impl Scene {
    fn new(name: &str) -> Scene {
        let folder = Folder::new(name);
        write_sources(&folder.0);
        let place = folder.0.join("database");
        std::fs::create_dir(&place).unwrap();
        let (disk, chain) = KeepingDisk::over(Arc::new(OsDisk::new(&place))).unwrap();
        chain.leave_spare(0);
        let store = Store::create(Arc::clone(&disk), &options()).unwrap();
        let mut scene = Scene { folder, disk, store, chain };
        for source in ["long.csv", "rows.csv"] {
            let mut txn = scene.begin();
            scene.import(&mut txn, source).unwrap();
            txn.commit().unwrap();
        }
        let mut txn = scene.begin();
        scene.fill(&mut txn).unwrap();
        txn.commit().unwrap();
        scene.export("sqlite", &["long"]).unwrap();
        std::fs::rename(scene.path("long.out"), scene.path("long.sqlite")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn begin(&self) -> Transaction {
        self.store.begin(Isolation::RepeatableRead, false).unwrap()
    }

    fn import(&self, txn: &mut Transaction, source: &str) -> Result<()> {
        import(txn, &self.disk, &self.path(source), &Plan::default(), &Progress::new()).map(drop)
    }

    /// Brings a file in as a table that is given up.
    fn try_import(&self, source: &str) -> Result<()> {
        let mut txn = self.store.begin(Isolation::RepeatableRead, false)?;
        let tables = vec![("long".to_owned(), "new".to_owned())];
        let plan = Plan { tables, ..Plan::default() };
        let done = import(&mut txn, &self.disk, &self.path(source), &plan, &Progress::new());
        txn.abort()?;
        done.map(drop)
    }

    /// Twenty thousand leaves.
    fn fill(&mut self, txn: &mut Transaction) -> Result<()> {
        let at = txn.tree("many", true)?.unwrap();
        (0..21_000u32).try_for_each(|row| txn.put(at, &row.to_be_bytes(), &[7; 3000]).map(drop))
    }

    fn export(&self, kind: &str, names: &[&str]) -> Result<()> {
        let place = self.path(&format!("{}.out", names[0]));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut txn = self.store.begin(Isolation::RepeatableRead, true)?;
        export(&mut txn, &place, kind, &names, &Progress::new()).map(drop)
    }

    /// An empty folder as a disk.
    fn target(&self, name: &str) -> Arc<dyn Disk> {
        let place = self.path(name);
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir(&place).unwrap();
        Arc::new(OsDisk::new(&place))
    }

    /// What a crash just now would leave.
    fn crashed(&self, name: &str) -> Arc<dyn Disk> {
        let to = self.path(name);
        let _ = std::fs::remove_dir_all(&to);
        copy(&self.path("database"), &to);
        Arc::new(OsDisk::new(&to))
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Files with long fields, each long in a way of its own.
fn write_sources(folder: &std::path::Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let (text, digits) = ("word ".repeat(LONG / 5), "0f".repeat(LONG / 2));
    write("long.csv", format!("id,text\n1,{text}\n2,\"{text}\"\"\"\n3,x\n").as_bytes());
    let mut wide = String::from("1");
    (0..200_000).for_each(|number| write!(wide, ",{number}").unwrap());
    let mut rows = String::from("id,text\n");
    (0..40_000).for_each(|row| writeln!(rows, "{row},{}", "t".repeat(100)).unwrap());
    write("rows.csv", rows.as_bytes());
    let utf16: Vec<u8> =
        format!("\u{feff}id;text\n1;{text}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    write("utf16.csv", &utf16);
    let escaped = text.replace(' ', "\\n");
    let lines = [
        format!("{{\"id\": 1, \"text\": \"{text}\"}}"),
        format!("{{\"id\": 2, \"text\": \"{escaped}\"}}"),
        format!("{{\"id\": 3, \"blob\": {{\"$hex\": \"{digits}\"}}}}"),
        format!("{{\"id\": 4, \"list\": [{wide}]}}"),
        format!("{{\"id\": 5, \"nested\": {}1{}}}", "[".repeat(100), "]".repeat(100)),
    ];
    for (number, line) in lines.iter().enumerate() {
        write(&format!("{number}.jsonl"), format!("{line}\n").as_bytes());
    }
}

/// Does the work with less and less memory than it takes.
fn starve(name: &str, scene: &Scene, mut work: impl FnMut() -> Result<()>) {
    let (_, most, done) = within(i64::MAX / 2, &mut work);
    done.unwrap_or_else(|error| panic!("{name}: {error}"));
    let steps = i64::from(runs());
    for step in 0..steps {
        assert!(reserve::set_aside());
        let (_, _, done) = within(most * step / steps, &mut work);
        let code = done.err().map(|error| error.code);
        assert!(matches!(code, None | Some(Code::OutOfMemory)), "{name}, step {step}: {code:?}");
        scene.store.maintain().unwrap();
    }
    let (_, _, done) = within(i64::MAX / 2, &mut work);
    done.unwrap_or_else(|error| panic!("{name}, once there was memory again: {error}"));
}

/// Does the work as often as it asks for large pieces, and refuses those from each one on.
fn refuse_each(name: &str, scene: &Scene, mut work: impl FnMut() -> Result<()>) {
    let (asked, done) = without_large(u64::MAX, &mut work);
    done.unwrap_or_else(|error| panic!("{name}: {error}"));
    println!("{name}: {asked} large pieces");
    let runs = asked.min(u64::from(runs()));
    for first in (0..runs).map(|run| run * asked / runs) {
        let (_, done) = without_large(first, &mut work);
        let code = done.err().map(|error| error.code);
        assert!(matches!(code, None | Some(Code::OutOfMemory)), "{name} from {first} on: {code:?}");
        // What could not be rolled back then is now, as it is in the background else.
        scene.store.maintain().unwrap();
    }
    let (_, done) = without_large(u64::MAX, &mut work);
    done.unwrap_or_else(|error| panic!("{name}, once there was memory again: {error}"));
}

fn both(name: &str, scene: &Scene, mut work: impl FnMut() -> Result<()>) {
    refuse_each(name, scene, &mut work);
    starve(name, scene, work);
}

#[test]
fn every_large_piece_of_memory_may_be_refused_while_files_are_brought_in_and_out() {
    let _alone = alone();
    let scene = Scene::new("refusals-transfer");
    let files = ["long.csv", "rows.csv", "utf16.csv", "long.sqlite"].map(str::to_owned);
    for source in files {
        both(&source, &scene, || scene.try_import(&source));
    }
    // The library that reads JSON cannot be refused memory: whether it is there is asked beforehand.
    for source in (0..5).map(|number| format!("{number}.jsonl")) {
        starve(&source, &scene, || scene.try_import(&source));
    }
    for kind in ["csv", "jsonl", "sqlite"] {
        refuse_each(&format!("export as {kind}"), &scene, || {
            scene.export(kind, &["long"])?;
            std::fs::remove_file(scene.path("long.out")).unwrap();
            Ok(())
        });
    }
    refuse_each("index", &scene, || {
        let mut txn = scene.store.begin(Isolation::RepeatableRead, false)?;
        let made = tables::create_index(&mut txn, &scene.disk, "rows", "by_text", &["text"], false);
        txn.abort()?;
        made.map(drop)
    });
    refuse_each("compare", &scene, || {
        let (mut then, mut now) = (scene.begin(), scene.begin());
        let trees = [tables::open(&mut then, "rows")?.tree, tables::open(&mut now, "long")?.tree];
        let mut then = Side { txn: &mut then, tree: trees[0] };
        let mut now = Side { txn: &mut now, tree: trees[1] };
        compare(&mut then, &mut now, &Portion { after: None, records: 1 << 20, keep: 1 << 20 }).map(drop)
    });
    assert_eq!(scene.store.check(false, &Progress::default()).unwrap().problems, []);
    scene.store.close().unwrap();
}

#[test]
fn every_large_piece_of_memory_may_be_refused_while_a_database_is_copied_and_recovered() {
    let _alone = alone();
    let scene = Scene::new("refusals-copies");
    both("checkpoint with many dirty pages", &scene, || {
        scene.store.checkpointer().take(scene.store.shared(), false, &mut || false).map(drop)
    });
    let crashed = scene.crashed("crashed");
    both("recover", &scene, || {
        let scratch = scene.target("scratch");
        let mut recovering = _kernel::store::Recovering::begin(
            Arc::clone(&crashed),
            &options(),
            Ground::Rehearsal(scratch),
        )?;
        recovering.run(&Progress::default())?;
        recovering.rehearsed(&Progress::default()).map(drop)
    });
    both("salvage", &scene, || {
        let (scratch, target) = (scene.target("scratch"), scene.target("saved"));
        salvage(Arc::clone(&crashed), scratch, target, &options(), &Progress::default()).map(drop)
    });
    both("checkpoint", &scene, || {
        let mut txn = scene.begin();
        let at = txn.tree("t", true)?.unwrap();
        txn.put(at, b"key", b"value")?;
        txn.commit()?;
        scene.store.checkpoint().map(drop)
    });
    both("backup", &scene, || {
        let target = scene.target("backup");
        backup::take_to(&scene.store, &*target, &Progress::default()).map(drop)
    });
    let copy: Arc<dyn Disk> = Arc::new(OsDisk::new(&scene.path("backup")));
    both("verify", &scene, || backup::verify_on(&*copy, &Progress::default()).map(drop));
    both("restore", &scene, || {
        let target = scene.target("restored");
        backup::restore_to(&*copy, &*target, &Progress::default()).map(drop)
    });
    let wanted = moment::Wanted { name: "then".to_owned(), is_scheduled: false };
    both("snapshot", &scene, || {
        if scene.chain.named("then").is_ok() {
            scene.chain.drop_named("then")?;
        }
        moment::take(&scene.store, &scene.chain, &wanted, &Progress::default()).map(drop)
    });
    both("look at a snapshot", &scene, || {
        let (scratch, target) = (scene.target("scratch"), scene.target("restored"));
        let (store, reader) =
            moment::look(&scene.chain, "then", &scratch, &options(), &Progress::default())?;
        let done = moment::restore(&store, &*target, &Progress::default());
        drop(store);
        drop(reader);
        done.map(drop)
    });
    both("mirror", &scene, || {
        let target = scene.target("mirror");
        let follower = scene.store.mirrors().add_on("/mirror", target, false)?;
        let done = follower.step().and_then(|()| follower.redo(true, &Progress::default()).map(drop));
        scene.store.mirrors().remove("/mirror", false)?;
        done
    });
    both("check", &scene, || {
        let report = scene.store.check(false, &Progress::default())?;
        assert_eq!(report.problems, []);
        Ok(())
    });
    scene.store.close().unwrap();
}
