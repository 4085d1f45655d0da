//! Loops that can be seen to have no end in the text. Some drivers end every loop after so many turns (llvmpipe: 65,535),
//! and would pass an endless one off as a quick one; on others it costs the device.

use naga::{
    AddressSpace, BinaryOperator, Block, Expression, Function, Handle, Literal, LocalVariable, Module, Span, Statement,
    StorageAccess, UnaryOperator,
};
use std::collections::HashSet;

/// What a look at the loops of an entry point gave.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Loops {
    /// Whether there are any.
    pub(super) any: bool,
    /// The first without an end.
    pub(super) endless: Option<Endless>,
}

/// A loop without an end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Endless {
    /// Where it stands.
    pub(super) span: Span,
    /// Whether it has a way out, whose condition the loop never changes.
    pub(super) has_exit: bool,
}

/// How a loop is left, from not at all to by what may change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    Never,
    /// In the first turn or never.
    Fixed,
    Possible,
}

/// Looks at a function and those that it calls.
pub(super) fn loops(module: &Module, entry: &Function) -> Loops {
    let mut look = Look { module, seen: HashSet::new(), found: Loops { any: false, endless: None } };
    look.function(entry);
    look.found
}

struct Look<'a> {
    module: &'a Module,
    seen: HashSet<Handle<Function>>,
    found: Loops,
}

impl<'a> Look<'a> {
    fn function(&mut self, function: &'a Function) {
        self.block(function, &function.body);
    }

    fn block(&mut self, function: &'a Function, block: &'a Block) {
        for (statement, span) in block.span_iter() {
            match statement {
                Statement::Loop { body, continuing, break_if } => {
                    self.found.any = true;
                    let turn = Turn::new(self.module, function, [body, continuing]);
                    let end = break_if.map_or(Exit::Never, |condition| turn.when(condition, true, Exit::Possible));
                    let exit = turn.exit(body, true, Exit::Possible).max(end);
                    if exit < Exit::Possible {
                        let has_exit = exit == Exit::Fixed;
                        self.found.endless.get_or_insert(Endless { span: *span, has_exit });
                    }
                    self.block(function, body);
                    self.block(function, continuing);
                }
                Statement::Call { function: called, .. } => {
                    if self.seen.insert(*called) {
                        self.function(&self.module.functions[*called]);
                    }
                }
                other => parts(other).for_each(|part| self.block(function, part)),
            }
        }
    }
}

/// The blocks in a statement that is no loop.
fn parts(statement: &Statement) -> impl Iterator<Item = &Block> {
    let (pair, cases) = match statement {
        Statement::Block(block) => ([Some(block), None], &[][..]),
        Statement::If { accept, reject, .. } => ([Some(accept), Some(reject)], &[][..]),
        Statement::Switch { cases, .. } => ([None, None], cases.as_slice()),
        _ => ([None, None], &[][..]),
    };
    pair.into_iter().flatten().chain(cases.iter().map(|case| &case.body))
}

/// One turn of a loop.
struct Turn<'a> {
    module: &'a Module,
    function: &'a Function,
    /// Variables that it writes.
    written: HashSet<Handle<LocalVariable>>,
}

impl<'a> Turn<'a> {
    fn new(module: &'a Module, function: &'a Function, blocks: [&Block; 2]) -> Self {
        let mut turn = Self { module, function, written: HashSet::new() };
        blocks.into_iter().for_each(|block| turn.note_writes(block));
        turn
    }

    fn note_writes(&mut self, block: &Block) {
        for statement in block {
            match statement {
                Statement::Store { pointer, .. } => self.written.extend(self.variable(*pointer)),
                Statement::Call { arguments, .. } => {
                    // A function may write through a pointer that it is given.
                    let given: Vec<_> = arguments.iter().filter_map(|argument| self.variable(*argument)).collect();
                    self.written.extend(given);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.note_writes(body);
                    self.note_writes(continuing);
                }
                other => parts(other).for_each(|part| self.note_writes(part)),
            }
        }
    }

    /// The local variable that a pointer is into.
    fn variable(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match &self.function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(*variable),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.variable(*base),
            _ => None,
        }
    }

    /// The best way out of the loop in a block that is entered as `guard` says. `breaks` tells whether a `break` there leaves
    /// this loop.
    fn exit(&self, block: &Block, breaks: bool, guard: Exit) -> Exit {
        let of = |statement: &Statement| match statement {
            Statement::Break if breaks => guard,
            Statement::Return { .. } | Statement::Kill => guard,
            Statement::Block(block) => self.exit(block, breaks, guard),
            Statement::If { condition, accept, reject } => {
                let accepted = self.exit(accept, breaks, self.when(*condition, true, guard));
                accepted.max(self.exit(reject, breaks, self.when(*condition, false, guard)))
            }
            Statement::Switch { selector, cases } => {
                let guard = if self.is_fixed(*selector) { guard.min(Exit::Fixed) } else { guard };
                cases.iter().map(|case| self.exit(&case.body, false, guard)).max().unwrap_or(Exit::Never)
            }
            Statement::Loop { body, .. } => self.exit(body, false, guard),
            _ => Exit::Never,
        };
        block.iter().map(of).max().unwrap_or(Exit::Never)
    }

    /// How `guard` goes on where a condition is as `wanted`.
    fn when(&self, condition: Handle<Expression>, wanted: bool, guard: Exit) -> Exit {
        match self.truth(condition) {
            Some(value) if value == wanted => guard,
            Some(_) => Exit::Never,
            None if self.is_fixed(condition) => guard.min(Exit::Fixed),
            None => guard,
        }
    }

    /// The value of a condition that always has the same.
    fn truth(&self, condition: Handle<Expression>) -> Option<bool> {
        match &self.function.expressions[condition] {
            Expression::Literal(Literal::Bool(value)) => Some(*value),
            Expression::Constant(constant) => {
                match self.module.global_expressions[self.module.constants[*constant].init] {
                    Expression::Literal(Literal::Bool(value)) => Some(value),
                    _ => None,
                }
            }
            Expression::Unary { op: UnaryOperator::LogicalNot, expr } => self.truth(*expr).map(|value| !value),
            // No unsigned number is below zero.
            Expression::Binary { op, left: _, right } => match (op, &self.function.expressions[*right]) {
                (BinaryOperator::GreaterEqual, Expression::Literal(Literal::U32(0))) => Some(true),
                (BinaryOperator::Less, Expression::Literal(Literal::U32(0))) => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether an expression has the same value in every turn.
    fn is_fixed(&self, expression: Handle<Expression>) -> bool {
        let all = |parts: &[Handle<Expression>]| parts.iter().all(|part| self.is_fixed(*part));
        match &self.function.expressions[expression] {
            Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_) => true,
            Expression::ArrayLength(_) => true,
            Expression::FunctionArgument(index) => self.is_value(*index),
            Expression::LocalVariable(variable) => !self.written.contains(variable),
            Expression::GlobalVariable(variable) => match self.module.global_variables[*variable].space {
                AddressSpace::Uniform | AddressSpace::Immediate => true,
                AddressSpace::Storage { access } => !access.contains(StorageAccess::STORE),
                _ => false,
            },
            Expression::Compose { components, .. } => all(components),
            Expression::Access { base, index } => all(&[*base, *index]),
            Expression::AccessIndex { base: part, .. }
            | Expression::Splat { value: part, .. }
            | Expression::Swizzle { vector: part, .. }
            | Expression::Load { pointer: part }
            | Expression::Unary { expr: part, .. }
            | Expression::Relational { argument: part, .. }
            | Expression::As { expr: part, .. } => self.is_fixed(*part),
            Expression::Binary { left, right, .. } => all(&[*left, *right]),
            Expression::Select { condition, accept, reject } => all(&[*condition, *accept, *reject]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().all(|part| self.is_fixed(part))
            }
            _ => false,
        }
    }

    /// Whether an argument is a value; others may change what a pointer leads to.
    fn is_value(&self, argument: u32) -> bool {
        let of = self.function.arguments.get(argument as usize);
        of.is_some_and(|of| self.module.types[of.ty].inner.pointer_space().is_none())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// None without an endless loop, else whether it has an exit.
    fn endless(body: &str) -> Option<bool> {
        let text = format!(
            "const YES = true;\nstruct P {{ n: u32 }}\n@group(0) @binding(0) var<uniform> p: P;\n\
             @group(0) @binding(1) var<storage, read_write> x: array<u32>;\n\
             @group(0) @binding(2) var<storage, read_write> a: array<atomic<u32>>;\n\
             fn step(i: ptr<function, u32>) {{ *i += 1u; }}\nfn inner() {{ loop {{ x[9] = 1u; }} }}\n\
             @compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3u) {{ {body} }}"
        );
        let module = naga::front::wgsl::parse_str(&text).unwrap();
        loops(&module, &module.entry_points[0].function).endless.map(|found| found.has_exit)
    }

    #[test]
    fn loops_without_a_way_out_are_found() {
        for body in [
            "loop { x[0] += 1u; }",
            "while (true) { x[0] += 1u; }",
            "while (YES) { x[0] += 1u; }",
            "for (;;) { x[0] += 1u; }",
            "for (var i = 9u; i >= 0u; i--) { x[i] = 1u; }",
            "loop { switch x[0] { case 1u: { break; } default: {} } }",
            "loop { loop { if (x[0] == 1u) { break; } } }",
            "if (id.x == 0u) { loop { x[0] += 1u; continuing { x[1] = 2u; } } }",
            "inner();",
        ] {
            assert_eq!(endless(body), Some(false), "{body}");
        }
    }

    #[test]
    fn loops_that_do_not_change_their_condition_are_found() {
        for body in [
            "var i = 0u; while (i < 10u) { x[0] += 1u; }",
            "for (var i = 0u; i < p.n;) { x[i] += 1u; }",
            "var i = 0u; var j = 0u; loop { j += 1u; if (i + id.x > p.n) { break; } }",
            "loop { x[0] += 1u; continuing { break if p.n == 3u; } }",
        ] {
            assert_eq!(endless(body), Some(true), "{body}");
        }
    }

    #[test]
    fn loops_that_may_end_are_left_alone() {
        for body in [
            "for (var i = 0u; i < p.n; i++) { x[i] = 1u; }",
            "var i = 9u; while (i > 0u) { i = i / 2u; }",
            "var i = 0u; while (i < 10u) { step(&i); }",
            "while (atomicLoad(&a[0]) == 0u) { }",
            "while (x[0] == 0u) { }",
            "loop { if (p.n == 0u) { break; } if (x[0] == 1u) { return; } }",
            "loop { x[0] = 1u; break; }",
            "loop { x[0] = 1u; continuing { break if true; } }",
            "loop { switch x[0] { case 1u: { return; } default: {} } }",
            "var i = 0u; while (i < 5u && x[0] > 2u) { i++; }",
            "var v = vec2u(0u); while (v.x < 3u) { v.x += 1u; }",
            "var i = 0u; loop { i++; loop { if (i == 7u) { return; } i++; } }",
            "x[0] = 1u;",
        ] {
            assert_eq!(endless(body), None, "{body}");
        }
    }
}
