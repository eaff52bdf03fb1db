//! A network with one hidden layer in f32, as plain loops: the part that is not this library's.

/// SplitMix64: a generator so small that the C++ example draws the same numbers.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in [-1, 1), exact in f32.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Puts the items in a random order.
    pub fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

/// y = x W + b. Row i of the parameters holds what input i gives to each output; the last row is b.
struct Layer {
    outputs: usize,
    parameters: Vec<f32>,
    velocity: Vec<f32>,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, random: &mut Random) -> Self {
        // Keeps the size of the signal through the layer (He et al. 2015).
        let bound = (6.0 / inputs as f32).sqrt();
        let mut parameters: Vec<f32> =
            (0..inputs * outputs).map(|_| bound * random.uniform()).collect();
        parameters.resize((inputs + 1) * outputs, 0.0);
        let velocity = vec![0.0; parameters.len()];
        Layer { outputs, parameters, velocity }
    }

    fn inputs(&self) -> usize {
        self.parameters.len() / self.outputs - 1
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (weights, bias) = self.parameters.split_at(self.inputs() * self.outputs);
        let mut y = Vec::with_capacity(x.len() / self.inputs() * self.outputs);
        for x in x.chunks(self.inputs()) {
            let start = y.len();
            y.extend(bias);
            for (&x, weights) in x.iter().zip(weights.chunks(self.outputs)) {
                add_multiple(&mut y[start..], x, weights);
            }
        }
        y
    }

    /// The gradient with respect to the parameters.
    fn gradient(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; self.parameters.len()];
        for (x, dy) in x.chunks(self.inputs()).zip(dy.chunks(self.outputs)) {
            for (&x, gradient) in x.iter().chain(&[1.0]).zip(gradient.chunks_mut(self.outputs)) {
                add_multiple(gradient, x, dy);
            }
        }
        gradient
    }

    /// The gradient with respect to the inputs.
    fn input_gradient(&self, dy: &[f32]) -> Vec<f32> {
        let weights = &self.parameters[..self.inputs() * self.outputs];
        let mut dx = Vec::with_capacity(dy.len() / self.outputs * self.inputs());
        for dy in dy.chunks(self.outputs) {
            dx.extend(
                weights
                    .chunks(self.outputs)
                    .map(|w| w.iter().zip(dy).map(|(w, dy)| w * dy).sum::<f32>()),
            );
        }
        dx
    }

    /// One step of gradient descent with momentum.
    fn update(&mut self, gradient: &[f32], rate: f32, momentum: f32) {
        let state = self.parameters.iter_mut().zip(&mut self.velocity);
        for ((parameter, velocity), gradient) in state.zip(gradient) {
            *velocity = momentum * *velocity + gradient;
            *parameter -= rate * *velocity;
        }
    }
}

fn add_multiple(y: &mut [f32], a: f32, x: &[f32]) {
    if a != 0.0 {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x); // half of the pixels are 0
    }
}

/// pixels -> hidden layer with ReLU -> logits.
pub struct Network {
    hidden: Layer,
    output: Layer,
}

/// What a forward pass leaves for the backward pass, and the logits; packed rows.
pub struct Activations {
    hidden: Vec<f32>,
    pub logits: Vec<f32>,
}

impl Network {
    pub fn new(inputs: usize, hidden: usize, classes: usize, random: &mut Random) -> Self {
        let hidden_layer = Layer::new(inputs, hidden, random);
        Network { hidden: hidden_layer, output: Layer::new(hidden, classes, random) }
    }

    pub fn forward(&self, pixels: &[f32]) -> Activations {
        let mut hidden = self.hidden.forward(pixels);
        hidden.iter_mut().for_each(|h| *h = h.max(0.0));
        let logits = self.output.forward(&hidden);
        Activations { hidden, logits }
    }

    /// Moves the parameters against the gradient of the loss.
    pub fn descend(
        &mut self,
        pixels: &[f32],
        activations: &Activations,
        dlogits: &[f32],
        rate: f32,
        momentum: f32,
    ) {
        let mut dhidden = self.output.input_gradient(dlogits);
        for (dh, h) in dhidden.iter_mut().zip(&activations.hidden) {
            *dh = if *h > 0.0 { *dh } else { 0.0 };
        }
        let gradient = self.output.gradient(&activations.hidden, dlogits);
        self.output.update(&gradient, rate, momentum);
        let gradient = self.hidden.gradient(pixels, &dhidden);
        self.hidden.update(&gradient, rate, momentum);
    }
}
