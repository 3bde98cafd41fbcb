//! Judges a history of appends to lists, after the idea of Elle (Kingsbury and Alvaro 2020).
//!
//! A list that was read names all the writers before it, in order. So the reads give the order of
//! the writes of each key; from it follow who overwrote whom (ww), who read from whom (wr) and who
//! was overtaken by whom (rw). No transaction of a history that the level allows comes before
//! itself in these.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use _kernel::txn::Isolation;

use crate::graph::{Edge, Graph};
use crate::history::{Deed, Event, List, Outcome};

/// What a history may show that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Reads of one key that are no beginnings of one list, or that name an element twice.
    IncompatibleOrder,
    /// An element that was committed and is not there at the end, or a part of a transaction.
    LostAppend,
    /// A transaction did not see its own appends.
    OwnAppendUnseen,
    AbortedRead,
    IntermediateRead,
    /// A cycle of overwriting alone.
    G0,
    /// A cycle of overwriting and reading.
    G1c,
    /// A cycle with one transaction that was overtaken.
    GSingle,
    /// A cycle with several of them.
    G2,
}

/// What an isolation level forbids.
pub fn forbidden(level: Isolation) -> BTreeSet<Flaw> {
    use Flaw::*;
    let mut flaws = BTreeSet::from([
        IncompatibleOrder,
        LostAppend,
        OwnAppendUnseen,
        AbortedRead,
        IntermediateRead,
        G0,
        G1c,
    ]);
    if level != Isolation::ReadCommitted {
        flaws.insert(GSingle);
    }
    if level == Isolation::Serializable {
        flaws.insert(G2);
    }
    flaws
}

pub type Findings = BTreeMap<Flaw, String>;

/// A history under examination.
pub struct Checker<'h> {
    deeds: &'h [Deed],
    writers: HashMap<u64, usize>,
    orders: BTreeMap<u32, List>,
    findings: Findings,
}

impl<'h> Checker<'h> {
    /// Finds every kind of flaw, each with one example. Moments in time count where `level` is
    /// above read committed: a transaction sees what had ended before it began.
    pub fn judge(deeds: &'h [Deed], end: &BTreeMap<u32, List>, level: Isolation) -> Findings {
        let writers = deeds.iter().enumerate();
        let writers = writers.flat_map(|(place, deed)| deed.appends().map(move |(_, e)| (e, place)));
        let mut checker = Checker {
            deeds,
            writers: writers.collect(),
            orders: BTreeMap::new(),
            findings: Findings::new(),
        };
        checker.order(end);
        checker.look_for_lost_appends(end);
        for deed in deeds.iter().filter(|deed| deed.outcome == Outcome::Committed) {
            checker.check_reads(deed);
        }
        let mut graph = checker.dependencies();
        if level != Isolation::ReadCommitted {
            checker.add_real_time(&mut graph);
        }
        checker.look_for_cycles(&graph);
        checker.findings
    }

    fn note(&mut self, flaw: Flaw, what: String) {
        self.findings.entry(flaw).or_insert(what);
    }

    /// Finds the order of appends of each key: the longest list that was read of it.
    fn order(&mut self, end: &BTreeMap<u32, List>) {
        let mut reads: Vec<(u32, &[u64])> = end.iter().map(|(key, list)| (*key, &list[..])).collect();
        for deed in self.deeds.iter().filter(|deed| deed.outcome == Outcome::Committed) {
            reads.extend(external_reads(deed));
        }
        reads.sort_by_key(|(_, list)| std::cmp::Reverse(list.len()));
        for (key, list) in reads {
            let longest = self.orders.entry(key).or_insert_with(|| list.to_vec());
            if !longest.starts_with(list) {
                let what = format!("key {key} was read as {list:?} and as {longest:?}");
                self.note(Flaw::IncompatibleOrder, what);
            }
        }
        for (key, list) in self.orders.clone() {
            if list.iter().collect::<BTreeSet<_>>().len() < list.len() {
                self.note(Flaw::IncompatibleOrder, format!("key {key} has one twice: {list:?}"));
            }
        }
    }

    fn look_for_lost_appends(&mut self, end: &BTreeMap<u32, List>) {
        let nothing = List::new();
        for deed in self.deeds.iter().filter(|deed| deed.outcome == Outcome::Committed) {
            for (key, element) in deed.appends() {
                let list = end.get(&key).unwrap_or(&nothing);
                if !list.contains(&element) {
                    self.note(Flaw::LostAppend, format!("{element} of key {key} is not in {list:?}"));
                }
            }
        }
        for deed in self.deeds.iter().filter(|deed| deed.outcome == Outcome::Unknown) {
            let is_there =
                |(key, element): (u32, u64)| end.get(&key).unwrap_or(&nothing).contains(&element);
            let there = deed.appends().filter(|append| is_there(*append)).count();
            if there != 0 && there != deed.appends().count() {
                self.note(Flaw::LostAppend, format!("only a part is there of {deed:?}"));
            }
        }
    }

    fn check_reads(&mut self, deed: &Deed) {
        let mut own: BTreeMap<u32, List> = BTreeMap::new();
        for event in &deed.events {
            match event {
                Event::Append { key, element } => own.entry(*key).or_default().push(*element),
                Event::Read { key, list } => {
                    let mine = own.get(key).map_or(&[][..], |list| list);
                    if !list.ends_with(mine) {
                        let what = format!("key {key} as {list:?} without {mine:?} at its end");
                        self.note(Flaw::OwnAppendUnseen, what);
                    }
                }
            }
        }
        for (key, list) in external_reads(deed) {
            for element in list {
                let Some(writer) = self.writers.get(element).map(|place| &self.deeds[*place]) else {
                    self.note(Flaw::AbortedRead, format!("{element} of key {key} was never appended"));
                    continue;
                };
                if writer.outcome == Outcome::Aborted {
                    self.note(Flaw::AbortedRead, format!("{element} of key {key} was rolled back"));
                }
            }
            let last = list.last().and_then(|last| Some((last, &self.deeds[*self.writers.get(last)?])));
            if let Some((last, writer)) = last
                && writer.last_append(key) != Some(*last)
            {
                let what = format!("{last} of key {key} was not the last of its transaction");
                self.note(Flaw::IntermediateRead, what);
            }
        }
    }

    fn dependencies(&self) -> Graph {
        let mut graph = Graph::new(self.deeds.len());
        for list in self.orders.values() {
            for pair in list.windows(2) {
                if let (Some(first), Some(second)) = (self.writer(pair[0]), self.writer(pair[1])) {
                    graph.add(first, second, Edge::WriteWrite);
                }
            }
        }
        let committed = self.deeds.iter().enumerate();
        for (reader, deed) in committed.filter(|(_, deed)| deed.outcome == Outcome::Committed) {
            for (key, list) in external_reads(deed) {
                if let Some(writer) = list.last().and_then(|last| self.writer(*last)) {
                    graph.add(writer, reader, Edge::WriteRead);
                }
                let next = self.orders.get(&key).and_then(|order| order.get(list.len()));
                if let Some(next) = next.and_then(|next| self.writer(*next)) {
                    graph.add(reader, next, Edge::ReadWrite);
                }
            }
        }
        graph
    }

    fn writer(&self, element: u64) -> Option<usize> {
        self.writers.get(&element).copied()
    }

    /// Whoever ended before another one began comes before it: through one node for each end, so
    /// that the edges stay few.
    fn add_real_time(&self, graph: &mut Graph) {
        let known = |(place, deed): (usize, &Deed)| {
            (deed.outcome == Outcome::Committed).then_some((place, deed.began, deed.ended))
        };
        let committed: Vec<_> = self.deeds.iter().enumerate().filter_map(known).collect();
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (place, began, ended) in committed {
            moments.extend([(began, false, place), (ended, true, place)]);
        }
        moments.sort_unstable();
        let mut now = graph.add_node();
        for (_, is_end, place) in moments {
            if is_end {
                let after = graph.add_node();
                graph.add(now, after, Edge::RealTime);
                graph.add(place, after, Edge::RealTime);
                now = after;
            } else {
                graph.add(now, place, Edge::RealTime);
            }
        }
    }

    fn look_for_cycles(&mut self, graph: &Graph) {
        for (flaw, most) in [(Flaw::G0, Edge::WriteWrite), (Flaw::G1c, Edge::RealTime)] {
            if let Some(cycle) = graph.cycle(most) {
                self.note(flaw, self.tell(&cycle));
            }
        }
        let core = graph.core(Edge::ReadWrite);
        let mut overtaken = graph.of_kind(Edge::ReadWrite);
        overtaken.retain(|(from, to)| core[*from] && core[*to]);
        for (from, to) in overtaken {
            if let Some(cycle) = graph.path(to, from, Edge::RealTime) {
                self.note(Flaw::GSingle, self.tell(&cycle));
                break;
            }
        }
        // Any other cycle has several of them.
        if self.findings.keys().all(|flaw| !matches!(flaw, Flaw::G0 | Flaw::G1c | Flaw::GSingle))
            && let Some(cycle) = graph.cycle(Edge::ReadWrite)
        {
            self.note(Flaw::G2, self.tell(&cycle));
        }
    }

    fn tell(&self, cycle: &[usize]) -> String {
        let deeds = cycle.iter().filter_map(|place| Some((place, self.deeds.get(*place)?)));
        deeds.map(|(place, deed)| format!("\n  {place}: {deed:?}")).collect()
    }
}

/// What a transaction read of others, its own appends cut off.
fn external_reads(deed: &Deed) -> Vec<(u32, &[u64])> {
    let mut own: HashMap<u32, usize> = HashMap::new();
    let mut reads = Vec::new();
    for event in &deed.events {
        match event {
            Event::Append { key, .. } => *own.entry(*key).or_default() += 1,
            Event::Read { key, list } => {
                let mine = own.get(key).copied().unwrap_or(0);
                reads.push((*key, &list[..list.len().saturating_sub(mine)]));
            }
        }
    }
    reads
}
