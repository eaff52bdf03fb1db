//! Few registers for many names: PTX gives every value a register of its own, which would make a
//! warp's registers larger than the caches.
//!
//! A register is in use from its first mention to its last, in the order of the text, and longer
//! where a loop may bring it back. Two whose uses do not overlap share one place. Lanes do not
//! disturb one another: each has its own part of that place, and its own way through the text.

use crate::names::{Names, Statement};
use crate::types::Type;

/// Where a register is in use.
#[derive(Clone, Copy, Debug)]
struct Use {
    first: u32,
    last: u32,
    /// It may hold a value of the previous round of a loop where it is first mentioned.
    carried: bool,
}

/// Gives registers their places, and returns how many there are.
pub(crate) fn registers(names: &mut Names, statements: &[Statement], count: u32) -> u32 {
    let mut uses: Vec<Option<Use>> = vec![None; count as usize];
    let mut jumps = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let at = at as u32;
        jumps.extend(targets(names, statement).into_iter().map(|to| (at, to)));
        for (index, written) in mentions(names, statement) {
            match &mut uses[index as usize] {
                Some(found) => found.last = at,
                none => *none = Some(Use { first: at, last: at, carried: !written }),
            }
        }
    }
    for found in uses.iter_mut().flatten() {
        // A jump over the first write to a later mention.
        found.carried |= jumps
            .iter()
            .any(|&(from, to)| from < found.first && to > found.first && to <= found.last);
    }
    extend(&mut uses, &jumps);
    let (places, total) = assign(&uses);
    names.renumber(&places);
    total
}

/// Registers that a statement mentions, and whether it surely writes them before any read.
fn mentions(names: &Names, statement: &Statement) -> Vec<(u32, bool)> {
    let guarded = statement.tokens.first().is_some_and(|token| token.text == "@");
    let mut words = statement.tokens.iter().map(|token| token.text.as_str());
    let opcode = words.find(|text| text.starts_with(|c: char| c.is_ascii_lowercase()));
    let root = opcode.and_then(|opcode| opcode.split('.').next()).unwrap_or_default();
    let writes = !guarded
        && matches!(
            root,
            "mov"
                | "ld"
                | "cvt"
                | "cvta"
                | "add"
                | "sub"
                | "mul"
                | "mad"
                | "fma"
                | "div"
                | "rem"
                | "min"
                | "max"
                | "neg"
                | "abs"
                | "and"
                | "or"
                | "xor"
                | "not"
                | "shl"
                | "shr"
                | "selp"
                | "prmt"
                | "ex2"
                | "lg2"
                | "rcp"
                | "sqrt"
                | "shfl"
                | "lop3"
                | "bfe"
        );
    let mut target = writes;
    let mut depth = 0;
    let mut found = Vec::new();
    for text in statement.tokens.iter().map(|token| token.text.as_str()) {
        match text {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            "," if depth == 0 => target = false,
            _ => {}
        }
        if let Some(register) = names.register(statement.scope, text)
            && register.ty != Type::Pred
        {
            found.push((register.index, target));
        }
    }
    // What is also read by the statement is read first.
    let read: Vec<u32> = found.iter().filter(|(_, written)| !written).map(|&(r, _)| r).collect();
    found.iter_mut().for_each(|(register, written)| *written &= !read.contains(register));
    found
}

fn targets(names: &Names, statement: &Statement) -> Vec<u32> {
    let is_jump = |text: &str| text == "bra" || text.starts_with("bra.") || text.starts_with("brx");
    if !statement.tokens.iter().any(|token| is_jump(&token.text)) {
        return Vec::new();
    }
    let last = statement.tokens.last().map_or("", |token| token.text.as_str());
    match names.target(statement.scope, last) {
        Some(target) => vec![target],
        None => names.targets(statement.scope, last).unwrap_or_default(),
    }
}

/// Loops keep what they need to their ends.
fn extend(uses: &mut [Option<Use>], jumps: &[(u32, u32)]) {
    let mut changed = true;
    while changed {
        changed = false;
        for &(end, start) in jumps.iter().filter(|(from, to)| to <= from) {
            for found in uses.iter_mut().flatten() {
                let before = *found;
                if found.first < start && found.last >= start {
                    found.last = found.last.max(end);
                }
                if found.carried && found.first > start && found.first <= end {
                    found.first = start;
                    found.last = found.last.max(end);
                }
                if found.carried && found.first == start {
                    found.last = found.last.max(end);
                }
                changed |= (before.first, before.last) != (found.first, found.last);
            }
        }
    }
}

/// A place for every register, and the number of places.
fn assign(uses: &[Option<Use>]) -> (Vec<u32>, u32) {
    let mut order: Vec<usize> = (0..uses.len()).filter(|&index| uses[index].is_some()).collect();
    order.sort_by_key(|&index| uses[index].map(|found| found.first));
    let mut places = vec![0; uses.len()];
    let mut ends: Vec<u32> = Vec::new();
    for index in order {
        let Some(Use { first, last, .. }) = uses[index] else { continue };
        let free = ends.iter().position(|&end| end < first);
        let place = free.unwrap_or(ends.len());
        if free.is_none() {
            ends.push(last);
        }
        ends[place] = last;
        places[index] = place as u32;
    }
    (places, ends.len() as u32)
}
