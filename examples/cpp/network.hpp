// A network with one hidden layer in f32, as plain loops: the part that is not this library's.
// The same as examples/train_digits/network.rs, number for number.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

using Vector = std::vector<float>;  // packed rows

// SplitMix64: so small that both examples draw the same numbers.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state(seed) {}

  // A number in [-1, 1), exact in f32.
  float uniform() { return static_cast<float>(next() >> 40) / (1 << 23) - 1; }

  // Puts the items in a random order.
  void shuffle(std::vector<std::size_t>& items) {
    for (std::size_t last = items.size() - 1; last > 0; --last) {
      std::swap(items[last], items[next() % (last + 1)]);
    }
  }

 private:
  std::uint64_t next() {
    std::uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  std::uint64_t state;
};

// y = x W + b. Row i of the parameters holds what input i gives to each output; the last row is b.
class Layer {
 public:
  Layer(std::size_t input_count, std::size_t output_count, Random& random)
      : inputs(input_count), outputs(output_count), parameters((inputs + 1) * outputs) {
    // Keeps the size of the signal through the layer (He et al. 2015).
    const float bound = std::sqrt(6 / static_cast<float>(inputs));
    for (std::size_t i = 0; i < inputs * outputs; ++i) parameters[i] = bound * random.uniform();
    velocity.resize(parameters.size());
  }

  Vector forward(const Vector& x) const {
    const std::size_t rows = x.size() / inputs;
    Vector y(rows * outputs);
    for (std::size_t row = 0; row < rows; ++row) {
      add_multiple(&y[row * outputs], 1, &parameters[inputs * outputs]);
      for (std::size_t i = 0; i < inputs; ++i) {
        add_multiple(&y[row * outputs], x[row * inputs + i], &parameters[i * outputs]);
      }
    }
    return y;
  }

  // The gradient with respect to the parameters.
  Vector gradient(const Vector& x, const Vector& dy) const {
    Vector gradient(parameters.size());
    for (std::size_t row = 0; row < x.size() / inputs; ++row) {
      for (std::size_t i = 0; i < inputs; ++i) {
        add_multiple(&gradient[i * outputs], x[row * inputs + i], &dy[row * outputs]);
      }
      add_multiple(&gradient[inputs * outputs], 1, &dy[row * outputs]);
    }
    return gradient;
  }

  // The gradient with respect to the inputs.
  Vector input_gradient(const Vector& dy) const {
    const std::size_t rows = dy.size() / outputs;
    Vector dx(rows * inputs);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < inputs; ++i) {
        for (std::size_t j = 0; j < outputs; ++j) {
          dx[row * inputs + i] += parameters[i * outputs + j] * dy[row * outputs + j];
        }
      }
    }
    return dx;
  }

  // One step of gradient descent with momentum.
  void update(const Vector& gradient, float rate, float momentum) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      velocity[i] = momentum * velocity[i] + gradient[i];
      parameters[i] -= rate * velocity[i];
    }
  }

 private:
  void add_multiple(float* y, float a, const float* x) const {
    if (a == 0) return;  // half of the pixels
    for (std::size_t j = 0; j < outputs; ++j) y[j] += a * x[j];
  }

  std::size_t inputs, outputs;
  Vector parameters, velocity;
};

// What a forward pass leaves for the backward pass, and the logits.
struct Activations {
  Vector hidden, logits;
};

// pixels -> hidden layer with ReLU -> logits.
class Network {
 public:
  Network(std::size_t inputs, std::size_t hidden_count, std::size_t classes, Random& random)
      : hidden(inputs, hidden_count, random), output(hidden_count, classes, random) {}

  Activations forward(const Vector& pixels) const {
    Vector h = hidden.forward(pixels);
    for (float& x : h) x = x > 0 ? x : 0;
    Vector logits = output.forward(h);
    return {std::move(h), std::move(logits)};
  }

  // Moves the parameters against the gradient of the loss.
  void descend(const Vector& pixels, const Activations& activations, const Vector& dlogits,
               float rate, float momentum) {
    Vector dhidden = output.input_gradient(dlogits);
    for (std::size_t i = 0; i < dhidden.size(); ++i) {
      if (!(activations.hidden[i] > 0)) dhidden[i] = 0;
    }
    output.update(output.gradient(activations.hidden, dlogits), rate, momentum);
    hidden.update(hidden.gradient(pixels, dhidden), rate, momentum);
  }

 private:
  Layer hidden, output;
};
