//! Every state that can be reached, breadth first, so that whatever is found comes by the shortest way.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::form;
use super::world::{Setting, Step, World};
use crate::part_of;

/// States beyond which nothing more is explored: each costs some hundred bytes, and some ten microseconds.
const STATES_MAX: u64 = 1_000_000;

/// What was explored.
pub struct Explored {
    pub states: usize,
    pub depth: usize,
    /// Nothing was left out for the depth's sake.
    pub is_complete: bool,
    /// What is wrong, and how it comes to that.
    pub wrong: Option<String>,
}

/// How a state was first reached, and where it leads without further events.
struct Node {
    from: Option<(u32, Step)>,
    free: Vec<u32>,
    is_at_rest: bool,
    is_expanded: bool,
}

struct Search<'a> {
    setting: &'a Setting,
    known: BTreeMap<u128, u32>,
    nodes: Vec<Node>,
    queue: VecDeque<(u32, usize, World)>,
}

/// Explores to this depth, and stops at what is wrong.
pub fn explore(setting: &Setting, depth_max: usize) -> Explored {
    let mut search =
        Search { setting, known: BTreeMap::new(), nodes: Vec::new(), queue: VecDeque::new() };
    let mut explored = Explored { states: 0, depth: 0, is_complete: true, wrong: None };
    search.add(World::new(setting), 0, None).expect("it begins well");
    let states_max = part_of(STATES_MAX) as usize;
    while let Some((number, depth, world)) = search.queue.pop_front() {
        explored.depth = depth;
        if depth == depth_max || search.nodes.len() > states_max {
            explored.is_complete = false;
            continue;
        }
        if let Err(wrong) = search.expand(number, depth, &world) {
            explored.is_complete = false;
            explored.wrong = Some(wrong);
            break;
        }
    }
    explored.states = search.nodes.len();
    explored.wrong = explored.wrong.or_else(|| search.dead_end());
    explored
}

impl Search<'_> {
    fn expand(&mut self, number: u32, depth: usize, world: &World) -> Result<(), String> {
        let mut free = Vec::new();
        for (step, is_free) in world.steps(self.setting) {
            let next = self.add(world.after(step), depth + 1, Some((number, step)))?;
            if is_free {
                free.push(next);
            }
        }
        let node = &mut self.nodes[number as usize];
        node.free = free;
        node.is_expanded = true;
        node.is_at_rest = world.is_at_rest();
        Ok(())
    }

    fn add(
        &mut self,
        mut world: World,
        depth: usize,
        from: Option<(u32, Step)>,
    ) -> Result<u32, String> {
        let wrong = world.judge(self.setting);
        let number = u32::try_from(self.nodes.len()).expect("memory ends before");
        match self.known.entry(form::of(&world)) {
            Entry::Occupied(known) if wrong.is_none() => return Ok(*known.get()),
            Entry::Occupied(_) => {}
            Entry::Vacant(vacant) => drop(vacant.insert(number)),
        }
        let node = Node { from, free: Vec::new(), is_at_rest: false, is_expanded: false };
        self.nodes.push(node);
        if let Some(wrong) = wrong {
            return Err(format!("{wrong}: {}", self.way(number)));
        }
        self.queue.push_back((number, depth, world));
        Ok(number)
    }

    fn way(&self, number: u32) -> String {
        let mut steps = Vec::new();
        let mut at = number;
        while let Some((from, step)) = self.nodes[at as usize].from {
            steps.push(format!("{step:?}"));
            at = from;
        }
        steps.reverse();
        format!("after {} steps:\n  {}", steps.len(), steps.join("\n  "))
    }

    /// Without further events every way ends, and ends well.
    fn dead_end(&self) -> Option<String> {
        let is_stuck = |node: &Node| node.is_expanded && node.free.is_empty() && !node.is_at_rest;
        if let Some(stuck) = self.nodes.iter().position(is_stuck) {
            return Some(format!(
                "nothing is left to do, and it is not in sync: {}",
                self.way(stuck as u32)
            ));
        }
        let mut left: Vec<usize> = vec![usize::MAX; self.nodes.len()];
        let mut is_on_way = vec![false; self.nodes.len()];
        for start in 0..self.nodes.len() {
            if left[start] != usize::MAX {
                continue;
            }
            // For each state on the current way, how many of its successors are not looked at yet.
            let mut way = vec![start];
            left[start] = self.nodes[start].free.len();
            is_on_way[start] = true;
            while let Some(at) = way.last().copied() {
                if left[at] == 0 {
                    way.pop();
                    is_on_way[at] = false;
                    continue;
                }
                left[at] -= 1;
                let next = self.nodes[at].free[left[at]] as usize;
                if left[next] == usize::MAX {
                    left[next] = self.nodes[next].free.len();
                    is_on_way[next] = true;
                    way.push(next);
                } else if is_on_way[next] {
                    return Some(format!("it goes round and round: {}", self.way(next as u32)));
                }
            }
        }
        None
    }
}
