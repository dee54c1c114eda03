// Step the encoder of a bundle, one row of numbers at a time: what a ROS 2 node in C++ links to.
//
//     g++ -std=c++17 -O2 -I kernels/mambats_kernels/native kernels/example/step.cpp kernels/mambats_kernels/native/libmambats_native.so
//         -Wl,-rpath,$PWD/kernels/mambats_kernels/native -o step
//     ./step BUNDLE/weights.safetensors [hold] < rows.txt        each row: gap, then a value a channel, nan where not measured
//
// Prints the token of each row. Verify the bundle first (python -m mambats.bundle.check BUNDLE): this reads what it is given.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mambats.h"

struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> numbers;
};

// The float32 tensors of a safetensors file whose names begin with `prefix`, which is left out. The header is JSON without
// escapes, as the exporter writes it.
static std::map<std::string, Tensor> read_tensors(const char *path, const std::string &prefix) {
    std::ifstream file(path, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(file)), {});
    uint64_t length = 0;
    if (all.size() < 8) throw std::runtime_error(std::string(path) + ": is no safetensors file");
    std::memcpy(&length, all.data(), 8);
    if (length > all.size() - 8) throw std::runtime_error(std::string(path) + ": is cut off");
    const std::string header = all.substr(8, length), start = "\"" + prefix;
    std::map<std::string, Tensor> found;
    for (size_t at = header.find(start); at != std::string::npos; at = header.find(start, at + 1)) {
        const size_t name = at + start.size(), end = header.find('"', name), close = header.find('}', end);
        const std::string entry = header.substr(end, close - end);
        if (entry.find("\"F32\"") == std::string::npos) continue;
        Tensor tensor;
        std::stringstream shape(entry.substr(entry.find("\"shape\":[") + 9));
        for (int64_t size; shape >> size; shape.ignore()) tensor.shape.push_back(size);
        uint64_t begin = 0, stop = 0;
        std::sscanf(entry.c_str() + entry.find("\"data_offsets\":["), "\"data_offsets\":[%lu,%lu]", &begin, &stop);
        if (begin > stop || stop > all.size() - 8 - length) throw std::runtime_error(std::string(path) + ": is cut off");
        tensor.numbers.resize((stop - begin) / sizeof(float));
        std::memcpy(tensor.numbers.data(), all.data() + 8 + length + begin, stop - begin);
        found[header.substr(name, end - name)] = tensor;
    }
    return found;
}

// A stack with its weights and its state: one row of a batch of one a step.
class Stepper {
  public:
    Stepper(const char *path, bool hold) : weights(read_tensors(path, "weight.model.encoder.")) {
        const Tensor &embed = get("embedding.weight"), &rates = get("blocks.0.mixer.A_log");
        for (int64_t k = 0; weights.count(block(k) + "norm.weight"); ++k) layers.push_back(layer(k));
        stack = {};
        stack.batch = stack.threads = 1;
        stack.width = embed.shape.at(0), stack.channels = embed.shape.at(1) / 2, stack.layers = int64_t(layers.size());
        stack.inner = rates.shape.at(0), stack.states = rates.shape.at(1);
        stack.rank = get("blocks.0.mixer.dt_proj.weight").shape.at(1);
        stack.taps = layers.at(0).conv_weight ? get("blocks.0.mixer.conv_weight").shape.at(1) : 1;
        stack.hold = hold;  // config.json says so under `layers`, and `eps`
        stack.eps = 1e-5;
        stack.embed = embed.numbers.data(), stack.embed_bias = at("embedding.bias"), stack.norm = at("norm.weight");
        stack.layer = layers.data();
        if (mambats_stack_size() != int(sizeof(stack))) throw std::runtime_error("the library is of another version");
        derived.resize(mambats_stack_floats(&stack));
        stack.derived = derived.data();
        mambats_stack_derive(&stack);
        for (auto &state : states)
            for (int64_t k = 0; k < stack.layers; ++k) {
                state.emplace_back((stack.taps - 1) * stack.inner);
                state.emplace_back(stack.inner * stack.states);
            }
    }

    // Take one row; NaN is not measured. Returns the token.
    const std::vector<float> &step(float gap, std::vector<float> row) {
        std::vector<uint8_t> observed(row.size());
        for (size_t c = 0; c < row.size(); ++c) {
            observed[c] = !std::isnan(row[c]);
            if (!observed[c]) row[c] = 0;
        }
        token.resize(stack.width);
        std::vector<void *> moving = {row.data(), &gap, observed.data(), nullptr, token.data()};
        for (int side : {now, 1 - now}) {
            moving.push_back(&pending[side]);
            moving.push_back(&fresh[side]);
            for (auto &part : states[side]) moving.push_back(part.data());
        }
        if (mambats_stack_step(&stack, reinterpret_cast<const MambatsToken *>(moving.data())))
            throw std::runtime_error("the step found no memory");
        now = 1 - now;  // the state before is kept until the next step: going back one is free
        return token;
    }

    int64_t channels() const { return stack.channels; }

  private:
    static std::string block(int64_t k) { return "blocks." + std::to_string(k) + "."; }
    const Tensor &get(const std::string &name) const {
        const auto found = weights.find(name);
        if (found == weights.end()) throw std::runtime_error("there is no weight " + name);
        return found->second;
    }
    const float *at(const std::string &name) const {
        const auto found = weights.find(name);
        return found == weights.end() ? nullptr : found->second.numbers.data();
    }
    MambatsLayer layer(int64_t k) const {
        const std::string name = block(k), mixer = name + "mixer.";
        return {at(name + "norm.weight"), at(mixer + "in_proj.weight"), at(mixer + "conv_weight"), at(mixer + "conv_bias"),
                at(mixer + "x_proj.weight"), at(mixer + "dt_proj.weight"), at(mixer + "dt_bias"), at(mixer + "A_log"),
                at(mixer + "D"), at(mixer + "out_proj.weight")};
    }

    std::map<std::string, Tensor> weights;
    std::vector<MambatsLayer> layers;
    MambatsStack stack;
    std::vector<float> derived, token;
    std::vector<std::vector<float>> states[2];
    float pending[2] = {0, 0};
    uint8_t fresh[2] = {1, 1};
    int now = 0;
};

int main(int count, char **words) try {
    if (count != 2 && count != 3) throw std::runtime_error("usage: step BUNDLE/weights.safetensors [hold] < rows");
    Stepper stepper(words[1], count == 3 && std::string(words[2]) == "hold");
    for (std::string line; std::getline(std::cin, line);) {
        std::stringstream cells(line);
        std::vector<float> row;
        for (std::string cell; cells >> cell;) row.push_back(std::stof(cell));
        if (int64_t(row.size()) != stepper.channels() + 1) throw std::runtime_error("a row has another number of values");
        for (float number : stepper.step(row[0], {row.begin() + 1, row.end()})) std::printf("%.9g ", double(number));
        std::printf("\n");
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "step: %s\n", error.what());
    return 2;
}
