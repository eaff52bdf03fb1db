//! The checks of one call: what comes out of here is safe to compute.

use std::ffi::c_void;
use std::ptr::null_mut;

use crate::args::Inputs;
use crate::site::Site;
use crate::workspace::Workspace;
use crate::{
    Args, BackwardArgs, DType, Denominator, Error, Layout, Outputs, Problem, Reduction, Report,
    Result, Stream, View, ViewMut,
};

/// A checked call: every address is valid, aligned, long enough and apart from the outputs.
/// Outputs that are not wanted are `None`. *T* is [`DType::companion`] of the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub rows: usize,
    /// Rows after the class axis; row r is (r / inner, r % inner).
    pub inner: usize,
    pub logits: Strided,
    /// One index for each row (`inner` apart), or probabilities of the shape of the logits.
    pub targets: Strided,
    pub class_weights: Option<*const u8>,
    pub row_weights: Option<*const u8>,
    pub dloss: Option<Upstream>,
    pub denominator: Denominator,
    /// Written by a forward run, read by a backward one.
    pub stats: Option<*mut u8>,
    pub loss: Option<*mut u8>,
    pub lse: Option<*mut u8>,
    pub dlogits: Option<Strided>,
    pub argmax: Option<*mut i64>,
    pub correct: Option<*mut i64>,
    pub entropy: Option<*mut u8>,
    pub workspace: *mut u8,
    #[allow(dead_code)] // where the CUDA path is not built
    pub on_gpu: OnGpu,
}

/// What only a run on a GPU has.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // as above
pub(crate) struct OnGpu {
    pub stream: *mut c_void,
    pub report: Option<*mut u8>,
    pub denominator: Option<*const u8>,
}

/// A tensor of shape (outer, classes, inner).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided {
    pub data: *mut u8,
    pub dtype: DType,
    pub strides: [usize; 3],
}

/// The upstream gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub data: *const u8,
    pub per_row: bool,
}

impl Call {
    pub fn forward(
        problem: &Problem,
        args: Args<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        let mut checks = Checks::new(problem, &args.inputs.logits, args.inputs.stream, site)?;
        let mut call = checks.inputs(&args.inputs)?;
        let (rows, one) = (call.rows, 1);
        let per_loss = if problem.reduction == Reduction::None { rows } else { one };
        let t = problem.logits.companion();
        call.loss = checks.output("loss", Outputs::LOSS, &args.loss, t, per_loss)?;
        call.lse = checks.output("lse", Outputs::LSE, &args.lse, t, rows)?;
        let two = rows.saturating_mul(2);
        call.stats = checks.output("stats", Outputs::STATS, &args.stats, t, two)?;
        let argmax = checks.output("argmax", Outputs::ARGMAX, &args.argmax, DType::I64, rows)?;
        call.argmax = argmax.map(|data| data.cast());
        let correct = checks.output("correct", Outputs::CORRECT, &args.correct, DType::I64, one)?;
        call.correct = correct.map(|data| data.cast());
        call.entropy = checks.output("entropy", Outputs::ENTROPY, &args.entropy, t, rows)?;
        checks.wanted("dlogits", Outputs::DLOGITS, args.dlogits.is_some())?;
        match &args.dlogits {
            Some(dlogits) => call.dlogits = Some(checks.gradient(dlogits)?),
            None if args.inputs.dloss.is_some() => {
                let reason = "only a gradient reads it, and the problem's outputs name none";
                return Err(Error::Unexpected { field: "dloss", reason });
            }
            None => (),
        }
        checks.finish(call, workspace)
    }

    pub fn backward(
        problem: &Problem,
        args: BackwardArgs<'_>,
        workspace: &mut Workspace<'_>,
        site: &dyn Site,
    ) -> Result<Call> {
        if !problem.outputs.contains(Outputs::STATS) {
            return Err(Error::Unsupported {
                what: "backward of a problem whose outputs do not name stats".into(),
                instead: "add STATS to the outputs, or DLOGITS to compute all in one run".into(),
            });
        }
        let mut checks = Checks::new(problem, &args.inputs.logits, args.inputs.stream, site)?;
        let mut call = checks.inputs(&args.inputs)?;
        let two = call.rows.saturating_mul(2);
        let stats = checks.packed("stats", &args.stats, problem.logits.companion(), two, false)?;
        call.stats = Some(stats.cast_mut());
        call.dlogits = Some(checks.gradient(&args.dlogits)?);
        checks.finish(call, workspace)
    }

    /// The address of a report, checked.
    pub fn report(
        problem: &Problem,
        report: &View<'_>,
        stream: Stream<'_>,
        site: &dyn Site,
    ) -> Result<*const u8> {
        let mut checks = Checks::new(problem, &View::from(&[0f32; 0]), Some(stream), site)?;
        checks.packed("report", report, DType::I64, Report::LEN, false)
    }
}

/// A stretch of memory of this call.
#[derive(Clone, Copy)]
struct Region {
    field: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

/// The checks of one call, and the memory that they have seen.
struct Checks<'p> {
    problem: &'p Problem,
    logits: View<'p>,
    layout: Layout,
    stream: usize,
    site: &'p dyn Site,
    regions: [Option<Region>; 20],
}

impl<'p> Checks<'p> {
    fn new(
        problem: &'p Problem,
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
                return Err(Error::mismatch("logits", given, needed));
            }
        };
        let stream = stream.unwrap_or_default().as_raw().addr();
        Ok(Checks { problem, logits: *logits, layout, stream, site, regions: [None; 20] })
    }

    fn inputs(&mut self, inputs: &Inputs<'p>) -> Result<Call> {
        let problem = self.problem;
        let companion = problem.logits.companion();
        let logits = self.strided("logits", &inputs.logits, problem.logits, false)?;
        self.promised_alignment("logits", &logits)?;
        let rows = self.layout.outer.checked_mul(self.layout.inner).ok_or_else(|| {
            let given = format!("{} x {}", self.layout.outer, self.layout.inner);
            Error::mismatch("rows", given, "a number below 2^64")
        })?;
        let targets = if problem.targets_are_probabilities() {
            self.strided("targets", &inputs.targets, problem.targets, false)?
        } else {
            let data = self.packed("targets", &inputs.targets, problem.targets, rows, false)?;
            let strides = [self.layout.inner, 0, 1];
            Strided { data: data.cast_mut(), dtype: problem.targets, strides }
        };
        let class_weights = self.weights(
            "class_weights",
            &inputs.class_weights,
            problem.class_weights,
            problem.classes,
        )?;
        let row_weights =
            self.weights("row_weights", &inputs.row_weights, problem.row_weights, rows)?;
        let dloss = match &inputs.dloss {
            None => None,
            Some(dloss) => {
                let per_row = problem.reduction == Reduction::None && dloss.len != 1;
                let len = if per_row { rows } else { 1 };
                Some(Upstream {
                    data: self.packed("dloss", dloss, companion, len, false)?,
                    per_row,
                })
            }
        };
        if let Denominator::Value(value) = inputs.denominator {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::invalid("denominator", value, "finite and at least 0"));
            }
            if problem.reduction != Reduction::Mean {
                let allowed = "unset unless the reduction is the mean";
                return Err(Error::invalid("denominator", value, allowed));
            }
        }
        Ok(Call {
            rows,
            inner: self.layout.inner.max(1),
            logits,
            targets,
            class_weights,
            row_weights,
            dloss,
            denominator: inputs.denominator,
            stats: None,
            loss: None,
            lse: None,
            dlogits: None,
            argmax: None,
            correct: None,
            entropy: None,
            workspace: null_mut(),
            on_gpu: self.of_a_gpu(inputs)?,
        })
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
            Some(_) if self.problem.reduction != Reduction::Mean => {
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
        let companion = self.problem.logits.companion();
        match (weights, declared) {
            (Some(weights), true) => self.packed(field, weights, companion, len, false).map(Some),
            (None, false) => Ok(None),
            (None, true) => Err(Error::Missing { field, reason: "the problem declares it" }),
            (Some(_), false) => {
                Err(Error::Unexpected { field, reason: "the problem does not declare it" })
            }
        }
    }

    fn wanted(&self, field: &'static str, output: Outputs, given: bool) -> Result<()> {
        match (given, self.problem.outputs.contains(output)) {
            (true, false) => {
                let reason = "the problem's outputs do not name it";
                Err(Error::Unexpected { field, reason })
            }
            (false, true) => Err(Error::Missing { field, reason: "the problem's outputs name it" }),
            _ => Ok(()),
        }
    }

    fn output(
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

    fn gradient(&mut self, dlogits: &ViewMut<'_>) -> Result<Strided> {
        let field = "dlogits";
        let checked = self.strided(field, &dlogits.read_too(), self.problem.dlogits, true)?;
        self.promised_alignment(field, &checked)?;
        let same_memory = std::ptr::eq(dlogits.data, self.logits.data)
            && dlogits.layout.unwrap_or(self.layout) == self.layout;
        match (self.problem.in_place, same_memory) {
            (true, false) => Err(Error::mismatch(
                field,
                "other memory than the logits",
                "the memory and layout of the logits, because the problem says in place",
            )),
            _ => Ok(checked),
        }
    }

    /// A tensor of the shape of the logits.
    fn strided(
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

    fn packed(
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

    fn finish(mut self, mut call: Call, workspace: &mut Workspace<'_>) -> Result<Call> {
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
    fn apart(&self) -> Result<()> {
        let regions = || self.regions.iter().flatten();
        for (index, a) in regions().enumerate() {
            for b in regions().skip(index + 1) {
                let meet = a.start < b.end && b.start < a.end;
                let replaced = self.problem.in_place && (a.field, b.field) == ("logits", "dlogits");
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
