//! The checks of one call.

use std::ptr::null_mut;

use crate::args::Inputs;
use crate::call::{Call, OnGpu, Per, Strided, Upstream, Work};
use crate::site::Site;
use crate::workspace::Workspace;
use crate::{
    DType, Denominator, Error, Layout, Outputs, Problem, Report, Result, Stream, View, ViewMut,
};

/// A stretch of memory of this call.
#[derive(Clone, Copy)]
struct Region {
    field: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

/// The checks of one call, and the memory that they have seen.
pub(crate) struct Checks<'p> {
    problem: &'p Problem,
    /// What the input is called.
    input: &'static str,
    layout: Layout,
    stream: usize,
    site: &'p dyn Site,
    regions: [Option<Region>; 20],
    /// Input and output that are the same memory.
    replaced: Option<(&'static str, &'static str)>,
}

impl<'p> Checks<'p> {
    /// Starts from the input and its name.
    pub fn new(
        problem: &'p Problem,
        input: &'static str,
        logits: &View<'p>,
        stream: Option<Stream<'_>>,
        site: &'p dyn Site,
    ) -> Result<Self> {
        let classes = problem.classes;
        let layout = match logits.layout {
            Some(layout) => layout,
            None if logits.len.is_multiple_of(classes) => {
                Layout::rows(logits.len / classes, classes)
            }
            None => {
                let given = format!("{} elements", logits.len);
                let needed = format!("a multiple of {classes} classes");
                return Err(Error::mismatch(input, given, needed));
            }
        };
        let stream = stream.unwrap_or_default().as_raw().addr();
        let (regions, replaced) = ([None; 20], None);
        Ok(Checks { problem, input, layout, stream, site, regions, replaced })
    }

    /// The inputs, the first of them of this type.
    pub fn inputs(
        &mut self,
        work: Work,
        inputs: &Inputs<'p>,
        dtype: DType,
        with_targets: bool,
    ) -> Result<Call> {
        let problem = self.problem;
        let companion = problem.logits.companion();
        let logits = self.strided(self.input, &inputs.logits, dtype, false)?;
        self.promised_alignment(self.input, &logits)?;
        let (rows, inner) = self.rows()?;
        let field = "targets";
        let targets = match (&inputs.targets, with_targets) {
            (Some(targets), true) if problem.targets_are_probabilities() => {
                self.strided(field, targets, problem.targets, false)?
            }
            (Some(targets), true) => {
                let data = self.packed(field, targets, problem.targets, rows, false)?;
                let strides = [self.layout.inner, 0, 1];
                Strided { data: data.cast_mut(), dtype: problem.targets, strides }
            }
            (None, false) => logits,
            (None, true) => {
                return Err(Error::Missing { field, reason: "the operation compares with them" });
            }
            (Some(_), false) => {
                return Err(Error::Unexpected { field, reason: "the operation has no targets" });
            }
        };
        let class_weights = self.weights(
            "class_weights",
            &inputs.class_weights,
            problem.class_weights,
            problem.classes,
        )?;
        let row_weights =
            self.weights("row_weights", &inputs.row_weights, problem.row_weights, rows)?;
        let pos_weights =
            self.weights("pos_weights", &inputs.pos_weights, problem.pos_weights, problem.classes)?;
        let element_weights = match &inputs.element_weights {
            Some(weights) if problem.element_weights => {
                Some(self.strided("element_weights", weights, companion, false)?)
            }
            other => {
                let declared = problem.element_weights;
                declaration("element_weights", other.is_some(), declared)?;
                None
            }
        };
        let dloss = match &inputs.dloss {
            None => None,
            Some(dloss) => {
                let per = if dloss.len == 1 { Per::Batch } else { Per::loss(problem) };
                let len = per.count(rows, problem.classes);
                let data = self.packed("dloss", dloss, companion, len, false)?;
                Some(Upstream { data, per })
            }
        };
        if let Denominator::Value(value) = inputs.denominator {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::invalid("denominator", value, "finite and at least 0"));
            }
            if !problem.reduction.is_mean() {
                let allowed = "unset unless the reduction is a mean";
                return Err(Error::invalid("denominator", value, allowed));
            }
        }
        Ok(Call {
            work,
            rows,
            inner,
            logits,
            targets,
            class_weights,
            row_weights,
            element_weights,
            pos_weights,
            dloss,
            denominator: inputs.denominator,
            stats: None,
            loss: None,
            lse: None,
            dlogits: None,
            output: None,
            upstream: None,
            argmax: None,
            correct: None,
            entropy: None,
            workspace: null_mut(),
            on_gpu: self.of_a_gpu(inputs)?,
        })
    }

    /// The rows, and how many of them follow one another after the class axis.
    pub fn rows(&self) -> Result<(usize, usize)> {
        let Layout { outer, inner, .. } = self.layout;
        let rows = outer.checked_mul(inner).ok_or_else(|| {
            Error::mismatch("rows", format!("{outer} x {inner}"), "a number below 2^64")
        })?;
        Ok((rows, inner.max(1)))
    }

    fn of_a_gpu(&mut self, inputs: &Inputs<'_>) -> Result<OnGpu> {
        let given = [
            ("device_denominator", inputs.device_denominator.is_some()),
            ("stream", inputs.stream.is_some()),
            ("report", inputs.report.is_some()),
        ];
        if let (None, Some((field, _))) = (self.site.gpu(), given.iter().find(|given| given.1)) {
            let reason = "the plan's device is the CPU; it is for runs on a GPU";
            return Err(Error::Unexpected { field, reason });
        }
        let denominator = match &inputs.device_denominator {
            None => None,
            Some(_) if !self.problem.reduction.is_mean() => {
                let reason = "only a mean has a denominator";
                return Err(Error::Unexpected { field: "device_denominator", reason });
            }
            Some(_) if inputs.denominator != Denominator::Default => {
                let reason = "denominator is given too";
                return Err(Error::Unexpected { field: "device_denominator", reason });
            }
            Some(view) => Some(self.packed("device_denominator", view, DType::F32, 1, false)?),
        };
        let report = match &inputs.report {
            Some(view) => Some(
                self.packed("report", &view.read_too(), DType::I64, Report::LEN, true)?.cast_mut(),
            ),
            None => None,
        };
        let stream = inputs.stream.map_or(null_mut(), |stream| stream.as_raw());
        Ok(OnGpu { stream, report, denominator })
    }

    fn weights(
        &mut self,
        field: &'static str,
        weights: &Option<View<'_>>,
        declared: bool,
        len: usize,
    ) -> Result<Option<*const u8>> {
        declaration(field, weights.is_some(), declared)?;
        let Some(weights) = weights else { return Ok(None) };
        self.packed(field, weights, self.problem.logits.companion(), len, false).map(Some)
    }

    pub fn wanted(&self, field: &'static str, output: Outputs, given: bool) -> Result<()> {
        match (given, self.problem.outputs.contains(output)) {
            (true, false) => {
                let reason = "the problem's outputs do not name it";
                Err(Error::Unexpected { field, reason })
            }
            (false, true) => Err(Error::Missing { field, reason: "the problem's outputs name it" }),
            _ => Ok(()),
        }
    }

    pub fn output(
        &mut self,
        field: &'static str,
        output: Outputs,
        view: &Option<ViewMut<'_>>,
        dtype: DType,
        len: usize,
    ) -> Result<Option<*mut u8>> {
        self.wanted(field, output, view.is_some())?;
        let Some(view) = view else { return Ok(None) };
        let data = self.packed(field, &view.read_too(), dtype, len, true)?;
        Ok(Some(data.cast_mut()))
    }

    /// A tensor of the shape of the logits to write; in place, it replaces this input.
    pub fn tensor(
        &mut self,
        field: &'static str,
        view: &ViewMut<'_>,
        dtype: DType,
        (replaces, input): (&'static str, Strided),
    ) -> Result<Strided> {
        let checked = self.strided(field, &view.read_too(), dtype, true)?;
        self.promised_alignment(field, &checked)?;
        if !self.problem.in_place {
            return Ok(checked);
        }
        if (checked.data, checked.strides) != (input.data, input.strides) {
            let of = if replaces == "logits" { "the logits" } else { replaces };
            return Err(Error::mismatch(
                field,
                format!("other memory than {of}"),
                format!("the memory and layout of {of}, because the problem says in place"),
            ));
        }
        self.replaced = Some((replaces, field));
        Ok(checked)
    }

    /// A tensor of the shape of the logits.
    pub fn strided(
        &mut self,
        field: &'static str,
        view: &View<'_>,
        dtype: DType,
        written: bool,
    ) -> Result<Strided> {
        let shape = [self.layout.outer, self.problem.classes, self.layout.inner];
        let packed = Layout::packed(shape[0], shape[1], shape[2]);
        let layout = view.layout.unwrap_or(packed);
        if layout.extents() != shape {
            let needed = format!("(outer, classes, inner) = {shape:?}");
            return Err(Error::mismatch(field, format!("{:?}", layout.extents()), needed));
        }
        let is_empty = shape.contains(&0); // strides then mean nothing
        let mut steps = shape.into_iter().zip(layout.strides);
        if !is_empty && steps.any(|(extent, stride)| extent > 1 && stride == 0) {
            return Err(Error::invalid(field, format!("strides {:?}", layout.strides), "positive"));
        }
        if written && !is_empty && !layout.is_injective() {
            let value = format!("strides {:?}", layout.strides);
            return Err(Error::invalid(field, value, "so large that no two elements share memory"));
        }
        let Some(span) = layout.span().filter(|&span| span <= isize::MAX as usize / dtype.size())
        else {
            let given = format!("strides {:?} for {shape:?}", layout.strides);
            return Err(Error::mismatch(field, given, "a size below 2^63 bytes"));
        };
        if view.len < span || (view.layout.is_none() && view.len != span) {
            let needed = format!("{span} for (outer, classes, inner) = {shape:?}");
            return Err(Error::mismatch(field, format!("{} elements", view.len), needed));
        }
        self.typed(field, view, dtype, span, written)?;
        Ok(Strided { data: view.data.cast_mut(), dtype, strides: layout.strides })
    }

    pub fn packed(
        &mut self,
        field: &'static str,
        view: &View<'_>,
        dtype: DType,
        len: usize,
        written: bool,
    ) -> Result<*const u8> {
        if view.layout.is_some_and(|layout| !layout.is_packed()) {
            return Err(Error::mismatch(field, "a strided buffer", "a packed one"));
        }
        if view.len != len {
            return Err(Error::mismatch(field, format!("{} elements", view.len), len));
        }
        self.typed(field, view, dtype, len, written)?;
        Ok(view.data)
    }

    /// Type, address and alignment; and keeps the memory in mind.
    fn typed(
        &mut self,
        field: &'static str,
        view: &View<'_>,
        dtype: DType,
        span: usize,
        written: bool,
    ) -> Result<()> {
        if view.dtype != dtype {
            return Err(Error::mismatch(field, view.dtype, dtype));
        }
        if span == 0 {
            return Ok(());
        }
        if view.data.is_null() {
            return Err(Error::Missing { field, reason: "its size is not 0; it is NULL" });
        }
        let start = view.data.addr();
        if !start.is_multiple_of(dtype.size()) {
            return Err(Error::Misaligned { field, address: start, alignment: dtype.size() });
        }
        self.site.reachable(field, view.memory, start, self.stream)?;
        let end = start.saturating_add(span.saturating_mul(dtype.size()));
        self.keep(Region { field, start, end, written });
        Ok(())
    }

    fn promised_alignment(&self, field: &'static str, tensor: &Strided) -> Result<()> {
        let alignment = self.problem.alignment;
        if self.layout.extents().contains(&0) {
            return Ok(()); // addresses and strides of nothing
        }
        let [outer, _, inner] = tensor.strides;
        let rows = [(self.layout.outer, outer), (self.layout.inner, inner)];
        let steps = rows.into_iter().filter(|&(extent, _)| extent > 1);
        let steps = steps.map(|(_, stride)| stride * tensor.dtype.size());
        let mut all = std::iter::once(tensor.data.addr()).chain(steps);
        match all.find(|bytes| !bytes.is_multiple_of(alignment)) {
            Some(address) => Err(Error::Misaligned { field, address, alignment }),
            None => Ok(()),
        }
    }

    fn keep(&mut self, region: Region) {
        let free = self.regions.iter_mut().find(|slot| slot.is_none());
        *free.expect("as many slots as a call has buffers") = Some(region);
    }

    pub fn finish(mut self, mut call: Call, workspace: &mut Workspace<'_>) -> Result<Call> {
        let needed = self.site.workspace_size(call.rows);
        let (data, given) = (workspace.data(), workspace.size());
        if given < needed {
            return Err(Error::WorkspaceTooSmall { given, needed });
        }
        if data.is_null() {
            return Err(Error::Missing { field: "workspace", reason: "every run needs one" });
        }
        let (start, alignment) = (data.addr(), Workspace::ALIGNMENT);
        if !start.is_multiple_of(alignment) {
            return Err(Error::Misaligned { field: "workspace", address: start, alignment });
        }
        self.site.reachable("workspace", workspace.memory(), start, self.stream)?;
        self.keep(Region {
            field: "workspace",
            start,
            end: start.saturating_add(needed),
            written: true,
        });
        self.apart()?;
        call.workspace = data;
        Ok(call)
    }

    /// No written region may meet another one, but for the gradient that replaces the logits.
    pub fn apart(&self) -> Result<()> {
        let regions = || self.regions.iter().flatten();
        for (index, a) in regions().enumerate() {
            for b in regions().skip(index + 1) {
                let meet = a.start < b.end && b.start < a.end;
                let replaced = self.replaced == Some((a.field, b.field));
                if meet && (a.written || b.written) && !replaced {
                    let (field, other) =
                        if b.written { (b.field, a.field) } else { (a.field, b.field) };
                    return Err(Error::Overlap { field, other });
                }
            }
        }
        Ok(())
    }
}

/// Whether a buffer is given where the problem declares it, and only there.
fn declaration(field: &'static str, given: bool, declared: bool) -> Result<()> {
    match (given, declared) {
        (false, true) => Err(Error::Missing { field, reason: "the problem declares it" }),
        (true, false) => {
            Err(Error::Unexpected { field, reason: "the problem does not declare it" })
        }
        _ => Ok(()),
    }
}
