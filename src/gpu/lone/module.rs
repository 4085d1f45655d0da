//! WGSL text from anywhere: parsed, specialised and reflected through naga, without a device.

use super::loops::{Endless, loops};
use crate::error::{Error, Result};
use crate::gpu::source_text::{rebind, with_workgroup_size};
use naga::back::PipelineConstants;
use naga::back::pipeline_constants::{PipelineConstantError, process_overrides};
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ScalarKind, ShaderStage, StorageAccess, TypeInner};

/// A kernel as its author wrote it, and what is to be made of it.
#[derive(Clone, Copy, Debug)]
pub struct LoneSource<'a> {
    /// Name in messages, best the file's path.
    pub name: &'a str,
    /// WGSL.
    pub text: &'a str,
    /// The entry point; may be left out where there is one only.
    pub entry: Option<&'a str>,
    /// Values of top-level `const`s and `override`s, as WGSL writes them.
    pub constants: &'a [(String, String)],
    /// In the place of the entry point's own `@workgroup_size`.
    pub workgroup_size: Option<[u32; 3]>,
}

/// A valid module, specialised, and what its entry point uses.
#[derive(Clone, Debug)]
pub struct LoneModule {
    /// Name in messages.
    pub name: String,
    /// The entry point.
    pub entry: String,
    /// Invocations of a workgroup by axis, overrides evaluated.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory that the entry point uses, in bytes.
    pub workgroup_bytes: u32,
    /// Buffers that the entry point uses, by group and binding.
    pub bindings: Vec<LoneBinding>,
    /// Whether the entry point has loops.
    pub has_loops: bool,
    /// Group and binding of buffers that the file declares and the entry point does not use.
    pub unused: Vec<[u32; 2]>,
    pub(super) text: String,
    /// Values of overrides, by the key that pipelines know them by.
    pub(super) overrides: Vec<(String, f64)>,
}

/// A buffer that a kernel uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoneBinding {
    /// `@group`.
    pub group: u32,
    /// `@binding`.
    pub binding: u32,
    /// The variable.
    pub name: String,
    /// A uniform buffer; else a storage buffer.
    pub uniform: bool,
    /// Whether it is declared `read_write`.
    pub writable: bool,
    /// Whether the entry point reads it.
    pub read: bool,
    /// Whether the entry point writes it.
    pub written: bool,
    /// Size of its type in bytes, a runtime-sized array counted with one element.
    pub min_bytes: u64,
    /// Whether it ends in a runtime-sized array.
    pub runtime_sized: bool,
    /// The first scalar in its type, as `--bind` writes it.
    pub scalar: &'static str,
}

impl LoneBinding {
    /// The flag that would bind it.
    fn suggestion(&self) -> String {
        let Self { group, binding, scalar, min_bytes, .. } = self;
        let width = if *scalar == "f16" { 2 } else { 4 };
        let len = if self.runtime_sized { "N".to_owned() } else { min_bytes.div_ceil(width).to_string() };
        format!("--bind {group}:{binding}={scalar}[{len}]:zeros")
    }
}

impl LoneModule {
    /// Parses, specialises, validates and reflects.
    ///
    /// # Errors
    /// Text that is no valid WGSL, an entry point or constant that is not there, or bindings other than buffers.
    pub fn parse(source: &LoneSource<'_>) -> Result<Self> {
        let name = source.name;
        let (mut text, overridden) = bind_constants(source);
        let mut module = read(name, &text)?;
        let entry = entry_name(source, &module)?;
        if let Some(size) = source.workgroup_size {
            text = with_workgroup_size(&text, &entry, size)
                .ok_or_else(|| Error::file(name, format!("{entry} has no @workgroup_size to replace")))?;
            module = read(name, &text)?;
        }
        let info = validate(name, &text, &module)?;
        let overrides = override_values(name, &module, &overridden)?;
        let mut values = PipelineConstants::default();
        values.extend(overrides.iter().cloned());
        let (fixed, fixed_info) = process_overrides(&module, &info, Some((ShaderStage::Compute, &entry)), &values)
            .map_err(|error| override_error(name, &text, &error))?;
        let mut lone = Self {
            name: name.to_owned(),
            entry,
            workgroup_size: [0; 3],
            workgroup_bytes: 0,
            bindings: Vec::new(),
            has_loops: false,
            unused: Vec::new(),
            text,
            overrides,
        };
        lone.reflect(&fixed, &fixed_info)?;
        lone.unused =
            declared(&module).filter(|at| !lone.bindings.iter().any(|b| [b.group, b.binding] == *at)).collect();
        Ok(lone)
    }

    /// Takes over what the entry point is and uses.
    fn reflect(&mut self, module: &Module, info: &ModuleInfo) -> Result<()> {
        let is_entry = |e: &naga::EntryPoint| e.name == self.entry && e.stage == ShaderStage::Compute;
        let index = module.entry_points.iter().position(is_entry);
        let gone = || Error::file(&self.name, format!("has no entry point {}", self.entry));
        let (index, entry) = index.and_then(|i| Some((i, module.entry_points.get(i)?))).ok_or_else(gone)?;
        self.workgroup_size = entry.workgroup_size;
        self.look_at_loops(module, &entry.function)?;
        let uses = info.get_entry_point(index);
        for (handle, variable) in module.global_variables.iter() {
            let used = uses[handle];
            if used.is_empty() {
                continue;
            }
            let inner = &module.types[variable.ty].inner;
            let size = inner.try_size(module.to_ctx()).unwrap_or(u32::MAX);
            match (variable.space, &variable.binding) {
                (AddressSpace::WorkGroup, _) => self.workgroup_bytes = self.workgroup_bytes.saturating_add(size),
                (AddressSpace::Uniform | AddressSpace::Storage { .. }, Some(_)) if !is_bindless(inner) => {
                    self.bindings.extend(reflect_buffer(module, variable, used, u64::from(size)));
                }
                (_, Some(at)) => {
                    let variable = variable.name.as_deref().unwrap_or("?");
                    let problem = format!(
                        "binding {}:{} ({variable}) is {}; only uniform and storage buffers can be bound here",
                        at.group,
                        at.binding,
                        resource(inner)
                    );
                    return Err(Error::file(&self.name, problem));
                }
                (AddressSpace::Immediate, None) => {
                    let variable = variable.name.as_deref().unwrap_or("?");
                    let problem =
                        format!("{variable} is immediate data; put it into a uniform buffer to profile it here");
                    return Err(Error::file(&self.name, problem));
                }
                (_, None) => {}
            }
        }
        self.bindings.sort_by_key(|b| (b.group, b.binding));
        Ok(())
    }

    fn look_at_loops(&mut self, module: &Module, entry: &naga::Function) -> Result<()> {
        let found = loops(module, entry);
        self.has_loops = found.any;
        let Some(Endless { span, has_exit }) = found.endless else { return Ok(()) };
        let problem = if has_exit {
            "this loop ends in its first turn or never: nothing in it changes what its end depends on"
        } else {
            "this loop never ends: nothing in it leads out"
        };
        let at = span.location(&self.text);
        let line = self.text.lines().nth((at.line_number as usize).saturating_sub(1)).unwrap_or_default();
        Err(Error::Wgsl {
            name: self.name.clone(),
            line: at.line_number,
            column: at.line_position,
            problem: problem.to_owned(),
            rendered: format!("{:5} | {line}", at.line_number),
        })
    }

    /// Checks what is bound, as group, binding and size in bytes.
    ///
    /// # Errors
    /// A buffer that is missing, too small, or that the file does not declare.
    pub fn check_bound(&self, bound: &[([u32; 2], u64)]) -> Result<()> {
        let wrong = |problem: String| Err(Error::file(&self.name, problem));
        for b in &self.bindings {
            let at = [b.group, b.binding];
            let Some((_, size)) = bound.iter().find(|(place, _)| *place == at) else {
                let kind = if b.uniform { "uniform" } else { "storage" };
                let (name, suggestion) = (&b.name, b.suggestion());
                return wrong(format!(
                    "{kind} buffer {}:{} ({name}) is not bound: add {suggestion}",
                    b.group, b.binding
                ));
            };
            if *size < b.min_bytes {
                let (name, wanted) = (&b.name, b.min_bytes);
                return wrong(format!(
                    "binding {}:{} ({name}) needs at least {wanted} bytes and is given {size}: its type is as large; \
                     enlarge {}",
                    b.group,
                    b.binding,
                    b.suggestion()
                ));
            }
        }
        let known =
            |at: &[u32; 2]| self.unused.contains(at) || self.bindings.iter().any(|b| [b.group, b.binding] == *at);
        match bound.iter().find(|(at, _)| !known(at)) {
            Some(([group, binding], _)) => {
                let all: Vec<String> = self.bindings.iter().map(|b| format!("{}:{}", b.group, b.binding)).collect();
                let has = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
                let entry = &self.entry;
                wrong(format!(
                    "has no binding {group}:{binding}; {entry} has {has}: leave out --bind {group}:{binding}"
                ))
            }
            None => Ok(()),
        }
    }
}

/// The text with its `const`s bound, and the constants that must be overrides.
fn bind_constants<'a>(source: &LoneSource<'a>) -> (String, Vec<&'a (String, String)>) {
    let mut text = source.text.to_owned();
    let mut others = Vec::new();
    for given in source.constants {
        match rebind(&text, &given.0, &given.1) {
            Some(bound) => text = bound,
            None => others.push(given),
        }
    }
    (text, others)
}

fn read(name: &str, text: &str) -> Result<Module> {
    naga::front::wgsl::parse_str(text).map_err(|error| Error::Wgsl {
        name: name.to_owned(),
        line: error.location(text).map_or(0, |at| at.line_number),
        column: error.location(text).map_or(0, |at| at.line_position),
        problem: error.message().to_owned(),
        rendered: error.emit_to_string_with_path(text, name),
    })
}

fn validate(name: &str, text: &str, module: &Module) -> Result<ModuleInfo> {
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator.validate(module).map_err(|error| invalid(name, text, &error))
}

fn invalid(name: &str, text: &str, error: &naga::WithSpan<naga::valid::ValidationError>) -> Error {
    Error::Wgsl {
        name: name.to_owned(),
        line: error.location(text).map_or(0, |at| at.line_number),
        column: error.location(text).map_or(0, |at| at.line_position),
        problem: chain(error.as_inner()),
        rendered: error.emit_to_string_with_path(text, name),
    }
}

/// An error and what it comes from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn entry_name(source: &LoneSource<'_>, module: &Module) -> Result<String> {
    let kernels = module.entry_points.iter().filter(|e| e.stage == ShaderStage::Compute);
    let names: Vec<&str> = kernels.map(|e| e.name.as_str()).collect();
    let wrong = |problem: String| Err(Error::file(source.name, problem));
    match (source.entry, names.as_slice()) {
        (_, []) => wrong("has no compute entry point".to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => wrong(format!("has several entry points, {}: pick one with --entry", names.join(", "))),
        (Some(wanted), _) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => wrong(format!("has no compute entry point {wanted}; it has {}", names.join(", "))),
    }
}

/// The values of overrides under the keys that pipelines know them by: the id where there is one, else the name.
fn override_values(name: &str, module: &Module, given: &[&(String, String)]) -> Result<Vec<(String, f64)>> {
    let key = |o: &naga::Override| o.id.map(|id| id.to_string()).or_else(|| o.name.clone()).unwrap_or_default();
    let value = |(constant, value): &(String, String)| {
        let fits = |o: &naga::Override| {
            o.name.as_ref() == Some(constant) || o.id.is_some_and(|id| id.to_string() == *constant)
        };
        let found = module.overrides.iter().map(|(_, o)| o).find(|o| fits(o));
        let declared = found.ok_or_else(|| unknown_constant(name, module, constant))?;
        let number = override_number(value).ok_or_else(|| {
            Error::setting("--const", format!("{constant}={value}: an override takes a number, true or false"))
        })?;
        Ok((key(declared), number))
    };
    given.iter().map(|pair| value(pair)).collect()
}

fn override_number(value: &str) -> Option<f64> {
    match value {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => value.trim_end_matches(['u', 'i', 'f', 'h']).parse().ok(),
    }
}

fn unknown_constant(name: &str, module: &Module, constant: &str) -> Error {
    let consts = module.constants.iter().filter_map(|(_, c)| c.name.clone());
    let all: Vec<String> = consts.chain(module.overrides.iter().filter_map(|(_, o)| o.name.clone())).collect();
    let has = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    Error::file(name, format!("has no const or override {constant}; it has {has}"))
}

fn override_error(name: &str, text: &str, error: &PipelineConstantError) -> Error {
    match error {
        PipelineConstantError::MissingValue(of) => {
            Error::file(name, format!("override {of} has no value: add --const {of}=VALUE"))
        }
        PipelineConstantError::ValidationError(error) => invalid(name, text, error),
        _ => Error::file(name, format!("the values of its overrides do not fit: {}", chain(error))),
    }
}

fn declared(module: &Module) -> impl Iterator<Item = [u32; 2]> + '_ {
    module.global_variables.iter().filter_map(|(_, v)| v.binding.as_ref().map(|at| [at.group, at.binding]))
}

fn reflect_buffer(
    module: &Module,
    variable: &naga::GlobalVariable,
    used: GlobalUse,
    min_bytes: u64,
) -> Option<LoneBinding> {
    let at = variable.binding.as_ref()?;
    let writable = matches!(variable.space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE));
    let scalar = match first_scalar(module, &module.types[variable.ty].inner) {
        Some(Scalar { kind: ScalarKind::Float, width: 2 }) => "f16",
        Some(Scalar { kind: ScalarKind::Sint, .. }) => "i32",
        Some(Scalar { kind: ScalarKind::Uint, .. }) => "u32",
        _ => "f32",
    };
    Some(LoneBinding {
        group: at.group,
        binding: at.binding,
        name: variable.name.clone().unwrap_or_default(),
        uniform: variable.space == AddressSpace::Uniform,
        writable,
        read: used.intersects(GlobalUse::READ | GlobalUse::ATOMIC),
        written: used.intersects(GlobalUse::WRITE | GlobalUse::ATOMIC),
        min_bytes,
        runtime_sized: is_runtime_sized(module, &module.types[variable.ty].inner),
        scalar,
    })
}

fn is_runtime_sized(module: &Module, inner: &TypeInner) -> bool {
    match inner {
        TypeInner::Array { size: naga::ArraySize::Dynamic, .. } => true,
        TypeInner::Struct { members, .. } => {
            members.last().is_some_and(|m| is_runtime_sized(module, &module.types[m.ty].inner))
        }
        _ => false,
    }
}

fn first_scalar(module: &Module, inner: &TypeInner) -> Option<Scalar> {
    match inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => Some(*scalar),
        TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } => Some(*scalar),
        TypeInner::Array { base, .. } => first_scalar(module, &module.types[*base].inner),
        TypeInner::Struct { members, .. } => first_scalar(module, &module.types[members.first()?.ty].inner),
        _ => None,
    }
}

fn is_bindless(inner: &TypeInner) -> bool {
    matches!(inner, TypeInner::BindingArray { .. })
}

/// What a binding that is no buffer is.
fn resource(inner: &TypeInner) -> &'static str {
    match inner {
        TypeInner::Image { class: naga::ImageClass::Storage { .. }, .. } => "a storage texture",
        TypeInner::Image { .. } => "a texture",
        TypeInner::Sampler { .. } => "a sampler",
        TypeInner::BindingArray { .. } => "an array of bindings",
        TypeInner::AccelerationStructure { .. } => "an acceleration structure",
        _ => "no buffer",
    }
}
