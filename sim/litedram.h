// LiteDRAM's controller and its DDR3 model, which are part of the Verilated design.

#pragma once

#include <algorithm>
#include <array>
#include <deque>

#include "VCore___024root.h"
#include "axi.h"
#include "litedram_banks.h"

#define CONTROL(port) top->control___05F##port

struct LitedramMemory {
    static constexpr unsigned RESET_CYCLES = 64;  // longer than a command is under way

    std::vector<uint8_t> memory;  // what Python sees: the first bytes of the DRAM
    VCore *top;
    std::deque<unsigned> writes;  // beats to come of each burst
    size_t reads = 0, responses = 0;  // bursts
    uint64_t beats_read = 0, beats_written = 0;

    LitedramMemory(uint64_t bytes, VCore *model) : memory(bytes), top(model) {}

    size_t outstanding() const { return reads + writes.size() + responses; }

    // Python's array to the DRAM and back, row by row: rows of all banks take turns.
    void load() {
        copy([](uint8_t *array, uint8_t *dram, size_t size) { std::memcpy(dram, array, size); });
    }
    void unload() {
        copy([](uint8_t *array, uint8_t *dram, size_t size) { std::memcpy(array, dram, size); });
    }
    template <typename Copy>
    void copy(Copy one) {
        constexpr size_t row_bytes = size_t(ROW_VECTORS) * VECTOR;
        for (size_t start = 0, n = 0; start < memory.size(); start += row_bytes, n++) {
            auto &bank = top->rootp->*BANKS[n % BANKS.size()];
            auto *row = &bank[n / BANKS.size() * (row_bytes / sizeof bank[0])];
            one(&memory[start], reinterpret_cast<uint8_t *>(row),
                std::min(row_bytes, memory.size() - start));
        }
    }

    // The controller drives AXI itself.
    void drive(VCore *, uint64_t) {}
    void move(Log &) {}

    void take(const AxiCycle &cycle, Log &log) {
        if (cycle.ar_taken) reads++;
        if (cycle.aw_taken) writes.push_back(cycle.aw.len + 1u);
        if (cycle.w_taken) {
            beats_written++;
            if (writes.empty()) {
                log.fail("a beat of W before its AW");
            } else {
                bool last = --writes.front() == 0;
                if (cycle.w.last != last) log.fail("WLAST is not on the last beat of its burst");
                if (last) writes.pop_front(), responses++;
            }
        }
        if (cycle.r_taken) beats_read++, reads -= AXI(rlast);
        if (cycle.b_taken) responses--;
        if (AXI(rvalid) && !AXI(rready)) log.fail("RREADY is low while data come");
    }

    void reset(VCore *) {
        reads = responses = 0;
        writes.clear();
        CONTROL(cyc) = CONTROL(stb) = 0;
    }

    // One Wishbone write; false if nothing answers. `cycle` runs one cycle.
    template <typename Cycle>
    bool control_write(uint32_t address, uint32_t value, Cycle cycle) {
        CONTROL(cyc) = CONTROL(stb) = CONTROL(we) = 1;
        CONTROL(adr) = address >> 2;
        CONTROL(dat_w) = value;
        CONTROL(sel) = 15;
        bool done = false;
        for (unsigned i = 0; i < 1000 && !done; i++) {
            // the inputs come after the edge, and the answer is there before the next one
            top->eval();
            done = CONTROL(ack);
            cycle();
        }
        CONTROL(cyc) = CONTROL(stb) = 0;
        return done;
    }
};
