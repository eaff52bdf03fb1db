// Trains a small network on real handwritten digits, with the logits in f32, in bf16 and in f16:
// examples/train_digits in C++17, with the same numbers.
//
//     make -C examples/cpp run
//
// What this shows: one plan gives the loss, its gradient and the number of correct rows of a
// mini-batch in one call, in whichever type the logits have, on a GPU if there is one. network.hpp,
// half.hpp and memory.hpp are plain C++; a real program has a framework and a toolkit for that.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>
#include <xent.hpp>

#include "half.hpp"
#include "memory.hpp"
#include "network.hpp"

// Tells the header which types these are; float and double it knows.
XENT_ELEMENT(bf16, BF16)
XENT_ELEMENT(f16, F16)

namespace {

constexpr std::size_t pixel_count = 64, class_count = 10, training_rows = 1437;

// Chosen by training on the first 1077 digits and testing with the next 360.
constexpr std::size_t hidden_count = 256, batch_rows = 32, epochs = 30;
constexpr float initial_rate = 0.2f;  // falls to 0 along a line
constexpr float momentum = 0.9f;
constexpr double smoothing = 0.1;
constexpr std::uint64_t seed = 1;
constexpr double expected_accuracy = 0.93;

// Packed rows of pixels from 0 to 1, and one label for each row.
struct Digits {
  Vector pixels;
  std::vector<std::uint8_t> labels;

  std::size_t size() const { return labels.size(); }

  void append(const float* row, std::uint8_t label) {
    pixels.insert(pixels.end(), row, row + pixel_count);
    labels.push_back(label);
  }
};

struct Data {
  Digits training, test;
};

Data load(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) throw std::runtime_error("cannot read " + path);
  Data data;
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    std::vector<int> row;
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(std::stoi(cell));
    if (row.size() != pixel_count + 1) throw std::runtime_error("not 65 columns: " + line);
    std::array<float, pixel_count> pixels;
    for (std::size_t i = 0; i < pixel_count; ++i) pixels[i] = static_cast<float>(row[i]) / 16;
    Digits& set = data.training.size() < training_rows ? data.training : data.test;
    set.append(pixels.data(), static_cast<std::uint8_t>(row.back()));
  }
  if (data.test.size() == 0) throw std::runtime_error("too few digits in " + path);
  return data;
}

// The logits as a model in this type would have them, and their gradient back in f32.
template <class To, class From>
std::vector<To> cast(const std::vector<From>& from) {
  std::vector<To> to;
  to.reserve(from.size());
  for (From x : from) to.push_back(static_cast<To>(static_cast<float>(x)));
  return to;
}

// What came of training with one type of logits.
struct Outcome {
  const char* name;
  std::vector<float> losses;  // mean loss of the training digits in each epoch
  float test_loss;
  double accuracy;           // share of the test digits that the network names correctly
  double training_accuracy;  // share of the training digits, in the last epoch
  double step;               // median time of a step in seconds
  double loss_share;         // share of that time until the loss is known
};

// Mean loss and accuracy on digits that the network has not seen.
template <class T>
void evaluate(const xent::context& context, xent_problem problem, const Network& network,
              const Digits& test, Outcome& outcome) {
  // The same problem, less what only training needs: no gradient is computed here.
  problem.label_smoothing = 0;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_CORRECT;
  const xent::plan plan(context, problem);
  xent::workspace workspace;

  const Device device(context);
  const Array<T> logits(device, cast<T>(network.forward(test.pixels).logits));
  const Array<std::uint8_t> labels(device, test.labels);
  const Array<float> loss(device, 1);
  const Array<std::int64_t> correct(device, 1);
  xent_args args = xent_args_default();
  args.outer = static_cast<std::int64_t>(test.size());
  args.logits = logits.data();
  args.targets = labels.data();
  args.loss = loss.data();
  args.correct = correct.data();
  workspace.prepare(plan, args);
  plan.run(args);
  outcome.test_loss = loss.get(1)[0];
  outcome.accuracy = static_cast<double>(correct.get(1)[0]) / static_cast<double>(test.size());
}

template <class T>
Outcome train(const xent::context& context, const char* name, float scale, const Data& data) {
  using clock = std::chrono::steady_clock;
  const auto seconds = [](clock::duration d) { return std::chrono::duration<double>(d).count(); };

  // What to compute, said once: the mean cross entropy of rows of 10 logits against labels in
  // bytes. The plan is good for any number of rows; the last batch has fewer.
  xent_problem problem = xent_problem_default();
  problem.classes = class_count;
  problem.logits_dtype = xent::dtype_of<T>::value;
  problem.target_type = xent::target_of<std::uint8_t>::value;
  problem.label_smoothing = smoothing;
  problem.outputs = XENT_OUTPUT_LOSS | XENT_OUTPUT_DLOGITS | XENT_OUTPUT_CORRECT;
  problem.expected_rows = batch_rows;
  const xent::plan plan(context, problem);

  // All that a step hands over, where the plan runs; made once, for all steps.
  const Device device(context);
  xent::workspace workspace;
  Array<T> logits(device, batch_rows * class_count), dlogits(device, batch_rows * class_count);
  Array<std::uint8_t> labels(device, batch_rows);
  const Array<float> upstream(device, std::vector<float>{scale}), loss(device, 1);
  const Array<std::int64_t> correct(device, 1);

  Random random(seed);
  Network network(pixel_count, hidden_count, class_count, random);
  std::vector<std::size_t> order(data.training.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  Outcome outcome{name, {}, 0, 0, 0, 0, 0};
  std::vector<double> steps;
  double total = 0, in_loss = 0;

  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    const float rate = initial_rate * (1 - static_cast<float>(epoch) / epochs);
    float loss_sum = 0;
    std::int64_t correct_sum = 0;
    random.shuffle(order);
    for (std::size_t first = 0; first < order.size(); first += batch_rows) {
      const auto start = clock::now();
      Digits batch;
      for (std::size_t i = first; i < std::min(first + batch_rows, order.size()); ++i) {
        batch.append(&data.training.pixels[order[i] * pixel_count], data.training.labels[order[i]]);
      }
      const Activations activations = network.forward(batch.pixels);
      logits.put(cast<T>(activations.logits));
      labels.put(batch.labels);

      const auto loss_start = clock::now();
      xent_args args = xent_args_default();
      args.outer = static_cast<std::int64_t>(batch.size());
      args.logits = logits.data();
      args.targets = labels.data();
      args.dloss = upstream.data();
      args.loss = loss.data();
      args.dlogits = dlogits.data();
      args.correct = correct.data();
      workspace.prepare(plan, args);
      plan.run(args);
      const float batch_loss = loss.get(1)[0];  // waits for a GPU
      in_loss += seconds(clock::now() - loss_start);

      Vector gradient = cast<float>(dlogits.get(activations.logits.size()));
      for (float& g : gradient) g /= scale;
      network.descend(batch.pixels, activations, gradient, rate, momentum);

      loss_sum += batch_loss * static_cast<float>(batch.size());
      correct_sum += correct.get(1)[0];
      steps.push_back(seconds(clock::now() - start));
      total += steps.back();
    }
    outcome.losses.push_back(loss_sum / static_cast<float>(order.size()));
    outcome.training_accuracy =
        static_cast<double>(correct_sum) / static_cast<double>(order.size());
  }

  std::sort(steps.begin(), steps.end());
  outcome.step = steps[steps.size() / 2];
  outcome.loss_share = in_loss / total;
  evaluate<T>(context, problem, network, data.test, outcome);
  return outcome;
}

void report(const std::vector<Outcome>& outcomes) {
  std::printf("\nmean loss of the training digits\nepoch");
  for (const Outcome& o : outcomes) std::printf("%10s", o.name);
  for (std::size_t epoch = 1; epoch <= epochs; epoch += epoch == 1 ? 4 : 5) {
    std::printf("\n%5zu", epoch);
    for (const Outcome& o : outcomes) std::printf("%10.5f", double{o.losses[epoch - 1]});
  }
  std::printf("\n\nlogits  test accuracy  in training  test loss  time per step  of which loss\n");
  for (const Outcome& o : outcomes) {
    std::printf("%-6s  %11.2f %%  %9.2f %%  %9.4f  %10.1f us  %11.1f %%\n", o.name,
                100 * o.accuracy, 100 * o.training_accuracy, double{o.test_loss}, 1e6 * o.step,
                100 * o.loss_share);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: train_digits DIGITS.CSV\n");
    return 2;
  }
  try {
    const Data data = load(argv[1]);
    const xent::context context;
    std::printf("device   %s\n", context.describe());
    std::printf("digits   %zu to train on, %zu to test with\n", data.training.size(),
                data.test.size());
    std::printf("network  %zu -> %zu -> %zu with ReLU; %zu epochs of %zu rows\n", pixel_count,
                hidden_count, class_count, epochs, batch_rows);

    // The gradient of a mean is small, and f16 has few small numbers. Scaling the loss, as mixed
    // precision training does, keeps them: the upstream gradient is that factor instead of 1.
    const std::vector<Outcome> outcomes = {train<float>(context, "f32", 1, data),
                                           train<bf16>(context, "bf16", 1, data),
                                           train<f16>(context, "f16", 1024, data)};
    report(outcomes);
    for (const Outcome& o : outcomes) {
      if (o.accuracy < expected_accuracy) {
        throw std::runtime_error(std::string(o.name) + ": test accuracy below 0.93");
      }
    }
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
