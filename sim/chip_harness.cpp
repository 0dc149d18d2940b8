// Harness of a Verilated chip: a clock, and its serial line driven bit by bit from outside, behind
// the C interface that sim/chip.py loads. Nothing else of the chip is touched.
//
// One cycle: drive `rx`, evaluate with the clock low, look at `tx`, evaluate with the clock high.

#include <cstdint>
#include <deque>
#include <memory>

#include "VCore.h"
#include "verilated.h"

namespace {

constexpr unsigned RESET_CYCLES = 64;  // longer than a command of the memory is under way
constexpr unsigned STOP = 9;           // number of the stop bit; the start bit is 0

struct Sender {  // bytes to bits of 8N1
    std::deque<uint8_t> bytes;
    unsigned frame = 0, left = 0, phase = 0;  // bits to come, how many, cycle of this one

    bool idle() const { return !left && bytes.empty(); }

    bool bit(unsigned bit_cycles) {
        if (!left && !bytes.empty()) {
            frame = bytes.front() << 1 | 1u << STOP, left = STOP + 1, phase = 0;
            bytes.pop_front();
        }
        if (!left) return true;
        bool now = frame & 1;
        if (++phase == bit_cycles) frame >>= 1, left--, phase = 0;
        return now;
    }
};

struct Receiver {  // bits to bytes; each is sampled in its middle
    std::deque<uint8_t> bytes;
    uint64_t broken = 0;  // bytes without their stop bit
    unsigned number = 0, wait = 0, byte = 0;
    bool busy = false;

    void look(bool line, unsigned bit_cycles) {
        if (!busy) {
            if (line) return;
            busy = true, number = 0, byte = 0, wait = bit_cycles / 2;
        }
        if (wait--) return;
        wait = bit_cycles - 1;
        if (number == 0 && line) busy = false;  // too short for a start bit
        else if (number == STOP) {
            busy = false;
            if (line) bytes.push_back(byte);
            else broken++;
        } else if (number) byte |= unsigned(line) << (number - 1);
        number++;
    }
};

struct Chip {
    VerilatedContext context;
    std::unique_ptr<VCore> top;
    Sender sender;
    Receiver receiver;
    unsigned bit_cycles;
    uint64_t now = 0, active = 0;  // cycle, and that of the last movement on the line

    explicit Chip(unsigned cycles) : bit_cycles(cycles) {
        top.reset(new VCore(&context, "chip"));
        top->rx = 1;
        top->rst = 1;
        for (unsigned i = 0; i < RESET_CYCLES; i++) cycle();
        top->rst = 0;
    }

    ~Chip() { top->final(); }

    void cycle() {
        if (!sender.idle() || receiver.busy) active = now;
        top->rx = sender.bit(bit_cycles);
        top->clk = 0;
        top->eval();
        receiver.look(top->tx, bit_cycles);
        top->clk = 1;
        top->eval();
        now++;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Chip *chip_create(unsigned bit_cycles) { return new Chip(bit_cycles); }
API void chip_destroy(Chip *chip) { delete chip; }
API uint64_t chip_now(Chip *chip) { return chip->now; }
API unsigned chip_leds(Chip *chip) { return chip->top->leds; }
API uint64_t chip_broken(Chip *chip) { return chip->receiver.broken; }

API void chip_send(Chip *chip, const uint8_t *bytes, uint64_t count) {
    chip->sender.bytes.insert(chip->sender.bytes.end(), bytes, bytes + count);
}

API void chip_run(Chip *chip, uint64_t cycles) {
    while (cycles--) chip->cycle();
}

// Runs until a byte has come, or for `patience` cycles in which nothing moves on the line. Returns
// how many of the bytes that came fit in `into`.
API uint64_t chip_receive(Chip *chip, uint8_t *into, uint64_t room, uint64_t patience) {
    auto &bytes = chip->receiver.bytes;
    chip->active = chip->now;
    while (bytes.empty() && chip->now - chip->active < patience) chip->cycle();
    uint64_t count = 0;
    for (; count < room && !bytes.empty(); count++) into[count] = bytes.front(), bytes.pop_front();
    return count;
}
