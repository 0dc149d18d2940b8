// What the units of the core do, from the tracks that its probe shows (hw/observe.py).

#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

constexpr unsigned STATES = 8;
constexpr unsigned BUSY = 1;
constexpr unsigned UNITS = 9;

struct Slice {  // a unit's work on one instruction, in cycles of the run, as NumPy reads it
    uint64_t begin, end, unit;
    uint32_t states[STATES];
};

// Follows one unit from instruction to instruction; one begins when the one before has ended.
struct Track {
    unsigned waiting = 0;  // instructions taken and not begun
    bool active = false;
    Slice slice{};
    std::deque<uint64_t> counts;  // cycles at work that end an instruction, for each

    // True when `slice` has come to its end.
    bool step(uint64_t cycle, unsigned unit, unsigned state, bool begin, bool end) {
        waiting += begin;
        if (!active && waiting) {
            active = true, waiting--;
            slice = {cycle, 0, unit, {}};
        }
        if (!active) return false;
        slice.states[state]++;
        if (!counts.empty() && slice.states[BUSY] == counts.front()) end = true, counts.pop_front();
        slice.end = cycle + 1;
        active = !end;
        return end;
    }
};

struct UnitProfile {
    std::vector<uint64_t> layers;  // [layer][state] of the array
    uint64_t states[UNITS][STATES] = {};
    bool tracing = false;
    uint64_t cycles = 0;
    Track tracks[UNITS];
    std::vector<Slice> slices;

    // One cycle of a run; `codes` has three bits a unit.
    void sample(size_t layer, uint32_t codes, uint32_t begin, uint32_t end) {
        size_t cell = layer * STATES + codes % STATES;
        if (cell >= layers.size()) layers.resize((cell / STATES + 1) * STATES);
        layers[cell]++;
        for (unsigned unit = 0; unit < UNITS; unit++) {
            unsigned state = codes >> 3 * unit & 7;
            states[unit][state]++;
            if (tracing &&
                tracks[unit].step(cycles, unit, state, begin >> unit & 1, end >> unit & 1))
                slices.push_back(tracks[unit].slice);
        }
        cycles++;
    }
};
