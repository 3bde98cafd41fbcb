//! A graph of transactions and the cycles in it.

use std::collections::VecDeque;

/// Why one transaction comes before another one (Adya, Liskov and O'Neil 2000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// The other one appended next.
    WriteWrite,
    /// The other one read what it wrote.
    WriteRead,
    /// It ended before the other one began.
    RealTime,
    /// The other one appended next to what it has read.
    ReadWrite,
}

#[derive(Default)]
pub struct Graph {
    edges: Vec<Vec<(usize, Edge)>>,
}

impl Graph {
    pub fn new(nodes: usize) -> Graph {
        Graph { edges: vec![Vec::new(); nodes] }
    }

    pub fn add_node(&mut self) -> usize {
        self.edges.push(Vec::new());
        self.edges.len() - 1
    }

    pub fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to && !self.edges[from].contains(&(to, edge)) {
            self.edges[from].push((to, edge));
        }
    }

    pub fn of_kind(&self, edge: Edge) -> Vec<(usize, usize)> {
        let all = self.edges.iter().enumerate();
        let all = all.flat_map(|(from, edges)| edges.iter().map(move |(to, kind)| (from, *to, *kind)));
        all.filter(|(.., kind)| *kind == edge).map(|(from, to, _)| (from, to)).collect()
    }

    /// The shortest path over edges up to `most`, both ends included.
    pub fn path(&self, from: usize, to: usize, most: Edge) -> Option<Vec<usize>> {
        let mut came_from = vec![usize::MAX; self.edges.len()];
        let mut pending = VecDeque::from([from]);
        came_from[from] = from;
        while let Some(node) = pending.pop_front() {
            if node == to {
                let mut path = vec![to];
                while path[path.len() - 1] != from {
                    path.push(came_from[path[path.len() - 1]]);
                }
                path.reverse();
                return Some(path);
            }
            for (next, edge) in &self.edges[node] {
                if *edge <= most && came_from[*next] == usize::MAX {
                    came_from[*next] = node;
                    pending.push_back(*next);
                }
            }
        }
        None
    }

    /// A cycle over edges up to `most`, where there is one: its nodes, in order.
    pub fn cycle(&self, most: Edge) -> Option<Vec<usize>> {
        let core = self.core(most);
        let first = core.iter().position(|is_in| *is_in)?;
        // Each node of the core has a successor in it: following them leads into a cycle.
        let (mut seen, mut node) = (vec![false; core.len()], first);
        while !std::mem::replace(&mut seen[node], true) {
            let mut next = self.edges[node].iter().filter(|(to, edge)| *edge <= most && core[*to]);
            node = next.next()?.0;
        }
        let mut around = self.edges[node].iter().filter(|(to, edge)| *edge <= most && core[*to]);
        around.find_map(|(next, _)| self.path(*next, node, most)).map(|mut path| {
            path.rotate_right(1);
            path
        })
    }

    /// The nodes that are left when those without successors are taken away, again and again: none
    /// where there is no cycle.
    pub fn core(&self, most: Edge) -> Vec<bool> {
        let count = self.edges.len();
        let (mut successors, mut before) = (vec![0; count], vec![Vec::new(); count]);
        for (from, edges) in self.edges.iter().enumerate() {
            for (to, _) in edges.iter().filter(|(_, edge)| *edge <= most) {
                successors[from] += 1;
                before[*to].push(from);
            }
        }
        let mut is_in = vec![true; count];
        let mut ends: Vec<usize> = (0..count).filter(|node| successors[*node] == 0).collect();
        while let Some(node) = ends.pop() {
            is_in[node] = false;
            for from in &before[node] {
                successors[*from] -= 1;
                if successors[*from] == 0 {
                    ends.push(*from);
                }
            }
        }
        is_in
    }
}
