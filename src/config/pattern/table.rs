//! All patterns of a port, compiled so that one look at a name finds those that take it.

use std::collections::HashMap;

use regex::bytes::{RegexSet, RegexSetBuilder, SetMatchesIntoIter};

use super::{Form, Pattern};
use crate::config::limits::{PATTERN_SET_CACHE_MAX, PATTERN_SET_COMPILED_MAX, PATTERN_SET_MAX};

/// The patterns of a port, compiled so that one look at a name finds all that take it.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<str>, Vec<u32>>,
    /// `*.suffix` by its suffix.
    suffixes: HashMap<Box<str>, Vec<u32>>,
    /// Bytes of the longest suffix.
    longest: usize,
    any: Vec<u32>,
    /// All others, in order.
    sets: Vec<Set>,
}

/// Expressions that are looked for at once.
#[derive(Debug)]
struct Set {
    set: RegexSet,
    /// The positions of its expressions in the table.
    indices: Vec<u32>,
}

impl NameTable {
    /// Compiles patterns. Their positions are the indices of [`NameTable::first`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a Pattern>) -> Self {
        let mut table = Self::default();
        let mut rest = Vec::new();
        for (index, pattern) in (0_u32..).zip(patterns) {
            match &pattern.form {
                Form::Any => table.any.push(index),
                Form::Exact(name) => {
                    table.exact.entry(Box::from(&**name)).or_default().push(index);
                }
                Form::Suffix(suffix) => {
                    table.longest = table.longest.max(suffix.len());
                    table.suffixes.entry(Box::from(&**suffix)).or_default().push(index);
                }
                Form::Glob(glob) => rest.push((index, expression(glob))),
                Form::Regex(regex) => rest.push((index, regex.text.to_string())),
            }
        }
        for chunk in rest.chunks(PATTERN_SET_MAX) {
            sets(chunk, &mut table.sets);
        }
        table
    }

    /// Calls `holds` with the index of every pattern that takes the name, in ascending order, until
    /// it returns true; that index is the result. The name must be in lower case and without a dot
    /// at its end. Allocates only where globs or regular expressions have to be asked.
    pub fn first(&self, name: Option<&str>, mut holds: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut lists = Lists { few: [&[]; LISTS_FEW], used: 0, more: Vec::new() };
        lists.push(&self.any);
        if let Some(name) = name {
            self.exact.get(name).into_iter().for_each(|list| lists.push(list));
            let mut rest = if self.suffixes.is_empty() { "" } else { name };
            while let Some((_, tail)) = rest.split_once('.') {
                if tail.len() <= self.longest {
                    self.suffixes.get(tail).into_iter().for_each(|list| lists.push(list));
                }
                rest = tail;
            }
        }
        let sets = if name.is_some() { &*self.sets } else { &[] };
        let mut hits = Hits { name: name.unwrap_or_default(), sets, found: None, next: None };
        loop {
            let listed = lists.lowest();
            let index = match (listed, hits.peek(listed)) {
                (Some(listed), Some(hit)) if hit < listed => hits.take(hit),
                (Some(listed), _) => lists.take(listed),
                (None, Some(hit)) => hits.take(hit),
                (None, None) => return None,
            };
            if holds(index) {
                return Some(index);
            }
        }
    }
}

/// How many lists of indices a lookup has without allocating.
const LISTS_FEW: usize = 8;

/// Ascending lists of indices, merged.
struct Lists<'a> {
    few: [&'a [u32]; LISTS_FEW],
    used: usize,
    more: Vec<&'a [u32]>,
}

impl<'a> Lists<'a> {
    fn push(&mut self, list: &'a [u32]) {
        match self.few.get_mut(self.used) {
            Some(free) => *free = list,
            None => self.more.push(list),
        }
        self.used += 1;
    }

    fn lowest(&self) -> Option<u32> {
        let used = self.few.iter().take(self.used).chain(&self.more);
        used.filter_map(|list| list.first()).min().copied()
    }

    /// Drops an index, which is the first of a list.
    fn take(&mut self, index: u32) -> usize {
        let mut used = self.few.iter_mut().take(self.used).chain(&mut self.more);
        if let Some(list) = used.find(|list| list.first() == Some(&index)) {
            *list = list.get(1..).unwrap_or_default();
        }
        index as usize
    }
}

/// What the sets find, asked for only as far as needed.
struct Hits<'a> {
    name: &'a str,
    sets: &'a [Set],
    found: Option<(SetMatchesIntoIter, &'a [u32])>,
    next: Option<u32>,
}

impl Hits<'_> {
    /// The next index, unless it is certainly above the one given.
    fn peek(&mut self, below: Option<u32>) -> Option<u32> {
        loop {
            if self.next.is_some() {
                return self.next;
            }
            if let Some((found, indices)) = &mut self.found {
                match found.next() {
                    Some(at) => self.next = indices.get(at).copied(),
                    None => self.found = None,
                }
                continue;
            }
            let (set, rest) = self.sets.split_first()?;
            if below.is_some_and(|below| set.indices.first().is_some_and(|first| *first > below)) {
                return None;
            }
            self.sets = rest;
            self.found = Some((set.set.matches(self.name.as_bytes()).into_iter(), &set.indices));
        }
    }

    fn take(&mut self, index: u32) -> usize {
        self.next = None;
        index as usize
    }
}

/// A glob as a regular expression.
fn expression(glob: &str) -> String {
    let parts: Vec<_> = glob.split('*').map(regex::escape).collect();
    format!("^{}$", parts.join("(?s:.*)"))
}

/// Compiles expressions into as few sets as their size allows.
fn sets(chunk: &[(u32, String)], into: &mut Vec<Set>) {
    let set = RegexSetBuilder::new(chunk.iter().map(|(_, text)| text))
        .case_insensitive(true)
        .unicode(false)
        .size_limit(PATTERN_SET_COMPILED_MAX)
        .dfa_size_limit(PATTERN_SET_CACHE_MAX)
        .build();
    match set {
        Ok(set) => {
            into.push(Set { set, indices: chunk.iter().map(|(index, _)| *index).collect() });
        }
        // Each of them was compiled before, so one alone fits.
        Err(_) if chunk.len() > 1 => {
            let (left, right) = chunk.split_at(chunk.len() / 2);
            sets(left, into);
            sets(right, into);
        }
        Err(_) => {}
    }
}
