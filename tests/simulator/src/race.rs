//! Who touched a byte last, and whether that is ordered before who touches it now.

use crate::clocks::{Clocks, known};
use crate::op::Order;

/// Added to the clock of a write: the access was atomic, or strong.
const STRONG: u32 = 1 << 31;

/// In place of a reader: the number of a set of readers.
const SET: u32 = 1 << 31;

/// The last writer of some bytes and those who read them since. Threads are counted over all clusters of
/// the launch, from 1; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    writer: u32,
    write_clock: u32,
    reader: u32,
    read_clock: u32,
    /// Somebody read it with `.nc`.
    constant: bool,
}

/// Who makes an access, and what it knows.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    /// A thread of the cluster.
    Thread(&'a Clocks, usize),
    /// An agent that works for a thread, with what that knew when it asked for it.
    Agent(&'a [u32], usize, u32),
}

impl View<'_> {
    fn index(self) -> usize {
        match self {
            View::Thread(_, thread) => thread,
            View::Agent(_, agent, _) => agent,
        }
    }

    fn clock(self) -> u32 {
        match self {
            View::Thread(clocks, thread) => clocks.now(thread),
            View::Agent(_, _, clock) => clock,
        }
    }

    fn knows(self, other: usize, clock: u32) -> bool {
        match self {
            View::Thread(clocks, me) => clocks.knows(me, other, clock),
            View::Agent(snapshot, ..) => known(snapshot, other) >= clock,
        }
    }
}

/// The other side of a race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    /// Thread or agent, counted over all clusters from 0.
    pub other: u32,
    pub wrote: bool,
    /// A read with `.nc` is involved, which no order makes right.
    pub constant: bool,
}

/// Readers of which none is ordered before another, or was when they were last sorted out.
struct Set {
    entries: Vec<(u32, u32)>,
    /// How many records refer to it.
    records: usize,
    /// The number of entries at which those that are ordered before others are removed.
    limit: usize,
}

/// Sets of readers, and the place of the cluster.
pub(crate) struct Readers {
    sets: Vec<Set>,
    /// The number of the first thread of the cluster that runs.
    base: u32,
}

impl Readers {
    pub fn new() -> Self {
        Readers { sets: Vec::new(), base: 0 }
    }

    pub fn begin_cluster(&mut self, base: u32) {
        self.base = base;
    }

    /// Every one of these records becomes two.
    pub fn doubled(&mut self, records: &[Record]) {
        for record in records.iter().filter(|record| record.reader & SET != 0) {
            self.sets[(record.reader & !SET) as usize].records += 1;
        }
    }

    /// Whether an access of `who`, counted from 1, is ordered before the view's.
    fn ordered(&self, view: View<'_>, who: u32, clock: u32) -> bool {
        let number = who - 1;
        if number == self.base + view.index() as u32 {
            // A thread is ordered with itself; an agent does not wait for its earlier work.
            let same = matches!(view, View::Thread(..)) || view.clock() == clock;
            return same || view.knows(view.index(), clock);
        }
        number >= self.base && view.knows((number - self.base) as usize, clock)
    }

    /// A read of consecutive bytes.
    pub fn read(
        &mut self,
        records: &mut [Record],
        view: View<'_>,
        order: Order,
    ) -> Result<(), Conflict> {
        let strong = order == Order::Strong;
        let constant = order == Order::Constant;
        let (me, clock) = (self.base + view.index() as u32 + 1, view.clock());
        let mut rest = records;
        while let Some(&record) = rest.first() {
            let run = rest.iter().take_while(|other| **other == record).count();
            let (bytes, after) = rest.split_at_mut(run);
            rest = after;
            if record.reader == me && record.read_clock == clock {
                continue;
            }
            if constant && record.writer != 0 {
                return Err(Conflict { other: record.writer - 1, wrote: true, constant });
            }
            if record.writer != 0 && !(strong && record.write_clock & STRONG != 0) {
                let written = record.write_clock & !STRONG;
                if !self.ordered(view, record.writer, written) {
                    return Err(Conflict {
                        other: record.writer - 1,
                        wrote: true,
                        constant: false,
                    });
                }
            }
            if !strong {
                let mut after = self.add_reader(record, run, view, (me, clock));
                after.constant |= constant;
                bytes.fill(after);
            }
        }
        Ok(())
    }

    /// What becomes of `run` equal records after one more thread has read them.
    fn add_reader(
        &mut self,
        mut record: Record,
        run: usize,
        view: View<'_>,
        reader: (u32, u32),
    ) -> Record {
        if record.reader & SET != 0 {
            let at = (record.reader & !SET) as usize;
            if self.sets[at].entries.last() == Some(&reader) {
                return record;
            }
            if self.sets[at].records == run {
                self.extend(at, view, reader);
                return record;
            }
            // The other records of the set have other readers from here on.
            self.sets[at].records -= run;
            let entries = self.sets[at].entries.clone();
            record.reader = self.add_set(entries, run);
            self.extend(self.sets.len() - 1, view, reader);
        } else if record.reader == 0
            || record.reader == reader.0
            || self.ordered(view, record.reader, record.read_clock)
        {
            (record.reader, record.read_clock) = reader;
        } else {
            let entries = vec![(record.reader, record.read_clock), reader];
            (record.reader, record.read_clock) = (self.add_set(entries, run), 0);
        }
        record
    }

    fn add_set(&mut self, entries: Vec<(u32, u32)>, records: usize) -> u32 {
        self.sets.push(Set { entries, records, limit: 16 });
        SET | (self.sets.len() as u32 - 1)
    }

    fn extend(&mut self, at: usize, view: View<'_>, reader: (u32, u32)) {
        if self.sets[at].entries.len() >= self.sets[at].limit {
            // One reader of an earlier cluster stands for all of them.
            let mut entries = std::mem::take(&mut self.sets[at].entries);
            let base = self.base;
            let mut foreign = false;
            entries.retain(|&(who, then)| {
                if who <= base {
                    return !std::mem::replace(&mut foreign, true);
                }
                !self.ordered(view, who, then)
            });
            self.sets[at].limit = (2 * entries.len()).max(16);
            self.sets[at].entries = entries;
        }
        self.sets[at].entries.push(reader);
    }

    /// A write of consecutive bytes; `strong`: atomic, so that others of that kind may meet it.
    pub fn write(
        &mut self,
        records: &mut [Record],
        view: View<'_>,
        strong: bool,
    ) -> Result<(), Conflict> {
        let (me, clock) = (self.base + view.index() as u32 + 1, view.clock());
        let after = Record {
            writer: me,
            write_clock: clock | if strong { STRONG } else { 0 },
            reader: 0,
            read_clock: 0,
            constant: false,
        };
        let mut last: Option<Record> = None;
        for record in records {
            if last != Some(*record) {
                let written = record.write_clock & !STRONG;
                let both_strong = strong && record.write_clock & STRONG != 0;
                if record.writer != 0 && !both_strong && !self.ordered(view, record.writer, written)
                {
                    return Err(Conflict {
                        other: record.writer - 1,
                        wrote: true,
                        constant: false,
                    });
                }
                self.check_readers(record, view)?;
                last = Some(*record);
            }
            if record.reader & SET != 0 {
                self.sets[(record.reader & !SET) as usize].records -= 1;
            }
            *record = after;
        }
        Ok(())
    }

    fn check_readers(&self, record: &Record, view: View<'_>) -> Result<(), Conflict> {
        let single = [(record.reader, record.read_clock)];
        let readers = match record.reader {
            0 => &[],
            set if set & SET != 0 => self.sets[(set & !SET) as usize].entries.as_slice(),
            _ => &single,
        };
        let constant = record.constant;
        match readers.iter().find(|&&(who, then)| constant || !self.ordered(view, who, then)) {
            Some(&(who, _)) => Err(Conflict { other: who - 1, wrote: false, constant }),
            None => Ok(()),
        }
    }
}
