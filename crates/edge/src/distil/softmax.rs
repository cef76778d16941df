//! Softmax regression in f64, deterministic on any machine.

/// A trained classifier: `weights[class][dim]`, `biases[class]`.
#[derive(Clone, Debug)]
pub struct Softmax {
    /// One row per class.
    pub weights: Vec<Vec<f64>>,
    /// One per class.
    pub biases: Vec<f64>,
}

/// Probabilities from logits.
pub fn probabilities(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| libm::exp(logit - most)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// Index of the largest value; the first of equals.
pub fn argmax(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (index, value)| if *value > values[best] { index } else { best })
}

/// Inner product in eight lanes: the compiler can use wide instructions, and the order of additions is the same on every
/// machine.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

impl Softmax {
    /// Fits soft labels by gradient descent with momentum; `decay` is the weight decay. Samples are weighted alike.
    pub fn fit(
        inputs: &[impl AsRef<[f64]>],
        labels: &[impl AsRef<[f64]>],
        classes: usize,
        decay: f64,
        passes: usize,
    ) -> Self {
        let dims = inputs.first().map_or(0, |input| input.as_ref().len());
        let mut model = Self { weights: vec![vec![0.0; dims]; classes], biases: vec![0.0; classes] };
        let (mut weight_speed, mut bias_speed) = (model.weights.clone(), model.biases.clone());
        let (mut slope, mut bias_slope) = (model.weights.clone(), model.biases.clone());
        let count = inputs.len().max(1) as f64;
        // Inputs have length 1, so the curvature of the loss is below one half: a step of 2 is stable.
        let (rate, momentum) = (2.0, 0.9);
        for _ in 0..passes {
            slope.iter_mut().for_each(|row| row.fill(0.0));
            bias_slope.fill(0.0);
            for (input, label) in inputs.iter().zip(labels) {
                let (input, label) = (input.as_ref(), label.as_ref());
                let guess = probabilities(&model.logits(input));
                for class in 0..classes {
                    let error = guess[class] - label[class];
                    bias_slope[class] += error;
                    slope[class].iter_mut().zip(input).for_each(|(sum, value)| *sum += error * value);
                }
            }
            for class in 0..classes {
                bias_speed[class] = momentum * bias_speed[class] - rate * bias_slope[class] / count;
                model.biases[class] += bias_speed[class];
                let weights = &mut model.weights[class];
                for ((weight, speed), slope) in
                    weights.iter_mut().zip(&mut weight_speed[class]).zip(&slope[class])
                {
                    *speed = momentum * *speed - rate * (slope / count + decay * *weight);
                    *weight += *speed;
                }
            }
        }
        model
    }

    /// Logits of an input.
    pub fn logits(&self, input: &[f64]) -> Vec<f64> {
        self.weights.iter().zip(&self.biases).map(|(row, bias)| dot(row, input) + bias).collect()
    }
}
