//! The Python face: the only code that knows Python. `engine/_kernel.pyi` describes it.
//!
//! Rules. The interpreter's lock is kept for single reads and changes that find their page in
//! memory, where every latch is only tried; it is given back before anything that may wait. No
//! kernel mutex is held while it is taken. A panic poisons the store, never the process.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::Code;

mod ascending;
mod backups;
mod cell;
mod checking;
mod compare;
mod cursor;
mod errors;
mod held;
mod inspect;
mod job;
mod line;
mod load;
mod log;
mod mirroring;
mod open;
mod options;
mod pairs;
mod recovery;
mod repairing;
mod salvage;
mod sealing;
mod snapshots;
mod status;
mod store;
mod table;
mod transaction;
mod transfer;
mod tree;
mod turns;
mod value;

#[pymodule(gil_used = false)]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Where there is no memory for it now, the first change looks again.
    crate::reserve::set_aside();
    let codes = PyDict::new(module.py());
    for code in Code::ALL {
        codes.set_item(code.name(), code.number())?;
    }
    module.add("ERROR_CODES", codes)?;
    module.add_class::<job::Job>()?;
    module.add_class::<store::Store>()?;
    module.add_class::<transaction::Transaction>()?;
    module.add_class::<tree::Tree>()?;
    module.add_class::<cursor::Cursor>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<cursor::RowCursor>()?;
    module.add_class::<recovery::Recovery>()?;
    module.add_class::<repairing::PageCopies>()?;
    module.add_class::<sealing::Vault>()?;
    module.add_class::<sealing::Sealer>()?;
    module.add_class::<sealing::Opener>()?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(transfer::describe_source, module)?)?;
    module.add_function(wrap_pyfunction!(transfer::sniff_csv, module)?)?;
    module.add_function(wrap_pyfunction!(backups::verify_backup, module)?)?;
    module.add_function(wrap_pyfunction!(backups::is_unfinished_backup, module)?)?;
    module.add_function(wrap_pyfunction!(backups::restore_backup, module)?)?;
    module.add_function(wrap_pyfunction!(backups::restore_point, module)?)?;
    module.add_function(wrap_pyfunction!(mirroring::mirror_standing, module)?)?;
    module.add_function(wrap_pyfunction!(mirroring::mirror_outlook, module)?)?;
    module.add_function(wrap_pyfunction!(mirroring::mirror_fail_over, module)?)?;
    module.add_function(wrap_pyfunction!(mirroring::mirror_verify, module)?)?;
    module.add_function(wrap_pyfunction!(mirroring::mirror_look, module)?)?;
    module.add_function(wrap_pyfunction!(salvage::salvage, module)?)?;
    module.add_function(wrap_pyfunction!(snapshots::revert_to_snapshot, module)?)?;
    // So that code which takes mappings takes trees.
    let mapping = module.py().import("collections.abc")?.getattr("MutableMapping")?;
    mapping.call_method1("register", (module.py().get_type::<tree::Tree>(),))?;
    held::watch_forks(module.py())
}
