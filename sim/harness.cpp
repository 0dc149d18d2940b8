// Harness of a Verilated core: clock, CSR transactions and probes, behind the C interface that
// sim/harness.py loads. The memory is a model (memory_model.h) or part of the design (litedram.h).
//
// One cycle: drive the inputs, evaluate with the clock low, sample what the core shows, evaluate
// with the clock high, let the memory move data. All inputs change between clock edges only.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "axi.h"
#include "profile.h"
#include "verilated.h"
#ifdef LITEDRAM
#include "litedram.h"
using Memory = LitedramMemory;
#else
#include "memory_model.h"
using Memory = MemoryModel;
#endif
#ifdef WAVES
#include "verilated_vcd_c.h"
#endif

// How Verilator spells Amaranth's `csr__awvalid` and, a word of C++ to it, `interrupt`.
#define CSR(port) top->csr___05F##port
#define PROBE(port) top->probe___05F##port
#define INTERRUPT __SYM__interrupt

namespace {

constexpr unsigned CSR_TIMEOUT = 100000;

struct Record {  // one probed vector, as NumPy reads it
    uint8_t stage, branch, data[VECTOR];
};

struct Harness {
    VerilatedContext context;
    std::unique_ptr<VCore> top;
#ifdef WAVES
    std::unique_ptr<VerilatedVcdC> waves;
#endif
    std::unique_ptr<Memory> memory;
    AxiRules axi;
    Log log;

    struct {
        bool awready, wready, bvalid, arready, rvalid;
        uint8_t response;
        uint32_t data;
    } csr{};  // the CSR port in the last cycle

    std::vector<Record> results, outputs;
    std::vector<uint64_t> output_cycles;  // when each of the outputs came
    UnitProfile profile;
    std::string failure_text;

    explicit Harness(uint64_t bytes) {
#ifdef WAVES
        context.traceEverOn(true);
#endif
        top.reset(new VCore(&context, "core"));
        memory.reset(new Memory(bytes, top.get()));
        axi.size = bytes;
    }

    ~Harness() {
#ifdef WAVES
        if (waves) waves->close();
#endif
        top->final();
    }

    // What the core shows in this cycle, with the clock low.
    void sample() {
        memory->take(axi.look(top.get(), log), log);

        csr = {bool(CSR(awready)), bool(CSR(wready)), bool(CSR(bvalid)),
               bool(CSR(arready)), bool(CSR(rvalid)),
               uint8_t(CSR(bvalid) ? CSR(bresp) : CSR(rresp)), CSR(rdata)};

        if (PROBE(result)[0] & 1) {
            uint32_t low = PROBE(result)[0];
            record(results, (low >> 1) & 3, (low >> 3) & 1, 4, PROBE(result).data());
        }
        if (PROBE(output)[0] & 1) {
            record(outputs, 0, (PROBE(output)[0] >> 1) & 1, 2, PROBE(output).data());
            output_cycles.push_back(log.now);
        }
        if (PROBE(running))
            profile.sample(PROBE(layer), PROBE(states), PROBE(begin), PROBE(end));
    }

    static void record(std::vector<Record> &into, unsigned stage, unsigned branch, unsigned shift,
                       const uint32_t *words) {
        Record entry{uint8_t(stage), uint8_t(branch), {}};
        for (unsigned i = 0; i < VECTOR / 4; i++) {
            uint32_t word = words[i] >> shift | words[i + 1] << (32 - shift);
            std::memcpy(entry.data + 4 * i, &word, 4);
        }
        into.push_back(entry);
    }

    void dump(unsigned half) {
#ifdef WAVES
        if (waves) waves->dump(2 * log.now + half);
#else
        (void)half;
#endif
    }

    void cycle() {
        memory->drive(top.get(), log.now);
        top->clk = 0;
        top->eval();
        dump(0);
        sample();
        top->clk = 1;
        top->eval();
        dump(1);
        memory->move(log);
        log.now++;
    }

    void reset() {
        memory->reset(top.get());
        axi.reset();
        CSR(awvalid) = CSR(wvalid) = CSR(arvalid) = 0;
        CSR(bready) = CSR(rready) = 0;
        top->rst = 1;
        for (unsigned i = 0; i < Memory::RESET_CYCLES; i++, log.now++) {
            for (int clock = 0; clock < 2; clock++) top->clk = clock, top->eval(), dump(clock);
        }
        top->rst = 0;
    }

    // Both return the response, or -1 if the core does not answer.
    int csr_write(uint32_t address, uint32_t value) {
        CSR(awvalid) = CSR(wvalid) = CSR(bready) = 1;
        CSR(awaddr) = address;
        CSR(wdata) = value;
        CSR(wstrb) = 15;
        int response = -1;
        for (unsigned i = 0; i < CSR_TIMEOUT && response < 0; i++) {
            cycle();
            if (csr.awready) CSR(awvalid) = 0;
            if (csr.wready) CSR(wvalid) = 0;
            if (csr.bvalid) response = csr.response;
        }
        CSR(awvalid) = CSR(wvalid) = CSR(bready) = 0;
        return response;
    }

    int csr_read(uint32_t address, uint32_t *value) {
        CSR(arvalid) = CSR(rready) = 1;
        CSR(araddr) = address;
        int response = -1;
        for (unsigned i = 0; i < CSR_TIMEOUT && response < 0; i++) {
            cycle();
            if (csr.arready) CSR(arvalid) = 0;
            if (csr.rvalid) response = csr.response, *value = csr.data;
        }
        CSR(arvalid) = CSR(rready) = 0;
        return response;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Harness *harness_create(uint64_t bytes) { return new Harness(bytes); }
API void harness_destroy(Harness *h) { delete h; }
API uint8_t *harness_memory(Harness *h) { return h->memory->memory.data(); }
API void harness_reset(Harness *h) { h->reset(); }

// What only the model can do, and what only LiteDRAM has; both answer 0 where it is not so.
API int harness_configure(Harness *h, unsigned latency, unsigned bytes_per_cycle,
                          unsigned max_reads, unsigned max_writes, unsigned stall_percent,
                          uint64_t seed) {
#ifndef LITEDRAM
    Memory &memory = *h->memory;
    memory.latency = latency, memory.bytes_per_cycle = bytes_per_cycle;
    memory.max_reads = max_reads, memory.max_writes = max_writes;
    memory.stall_percent = stall_percent;
    memory.random = seed * 0x9e3779b97f4a7c15ULL | 1;
    return 1;
#else
    return 0;
#endif
}

API int harness_inject(Harness *h, uint64_t first, uint64_t last) {
#ifndef LITEDRAM
    h->memory->error_first = first, h->memory->error_last = last;
    return 1;
#else
    return 0;
#endif
}

API int harness_control_write(Harness *h, uint32_t address, uint32_t value, uint64_t cycles) {
#ifdef LITEDRAM
    if (!h->memory->control_write(address, value, [h] { h->cycle(); })) return 0;
    while (cycles--) h->cycle();
    return 1;
#else
    return 0;
#endif
}

API int harness_csr_write(Harness *h, uint32_t address, uint32_t value) {
    h->memory->load();
    int response = h->csr_write(address, value);
    h->memory->unload();
    return response;
}
API int harness_csr_read(Harness *h, uint32_t address, uint32_t *value) {
    h->memory->load();
    int response = h->csr_read(address, value);
    h->memory->unload();
    return response;
}

// Runs until the interrupt is high or `cycles` have passed; returns the cycles run.
API uint64_t harness_run(Harness *h, uint64_t cycles) {
    uint64_t start = h->log.now;
    h->memory->load();
    while (h->log.now - start < cycles && !h->top->INTERRUPT) h->cycle();
    h->memory->unload();
    return h->log.now - start;
}
API int harness_interrupt(Harness *h) { return h->top->INTERRUPT; }
API uint64_t harness_now(Harness *h) { return h->log.now; }
API uint64_t harness_outstanding(Harness *h) { return h->memory->outstanding(); }
API uint64_t harness_beats_read(Harness *h) { return h->memory->beats_read; }
API uint64_t harness_beats_written(Harness *h) { return h->memory->beats_written; }

API const Record *harness_results(Harness *h, uint64_t *count) {
    *count = h->results.size();
    return h->results.data();
}
API const Record *harness_outputs(Harness *h, uint64_t *count) {
    *count = h->outputs.size();
    return h->outputs.data();
}
API const uint64_t *harness_output_cycles(Harness *h, uint64_t *count) {
    *count = h->output_cycles.size();
    return h->output_cycles.data();
}
API const uint64_t *harness_histogram(Harness *h, uint64_t *layers) {
    *layers = h->profile.layers.size() / STATES;
    return h->profile.layers.data();
}
API const uint64_t *harness_unit_states(Harness *h) { return &h->profile.states[0][0]; }

// Records the slices of the run to come. Unit `counted` does not tell the end of an instruction:
// the i-th has been at work for counts[i] cycles then.
API void harness_trace(Harness *h, unsigned counted, const uint64_t *counts, uint64_t count) {
    h->profile.tracing = true;
    h->profile.tracks[counted].counts.assign(counts, counts + count);
}
API const Slice *harness_slices(Harness *h, uint64_t *count) {
    *count = h->profile.slices.size();
    return h->profile.slices.data();
}
API const char *harness_failures(Harness *h) {  // one a line
    h->failure_text.clear();
    for (const auto &failure : h->log.failures) h->failure_text += failure + "\n";
    return h->failure_text.c_str();
}

// Forgets probes, profile, beats and failures.
API void harness_clear(Harness *h) {
    h->results.clear(), h->outputs.clear(), h->output_cycles.clear(), h->log.failures.clear();
    h->profile = {};
    h->memory->beats_read = h->memory->beats_written = 0;
}

// Returns 0 if this library was built without waves.
API int harness_waves_open(Harness *h, const char *path) {
#ifdef WAVES
    h->waves.reset(new VerilatedVcdC);
    h->top->trace(h->waves.get(), 99);
    h->waves->open(path);
    return h->waves->isOpen();
#else
    (void)h, (void)path;
    return 0;
#endif
}
API void harness_waves_close(Harness *h) {
#ifdef WAVES
    if (h->waves) h->waves->close(), h->waves.reset();
#else
    (void)h;
#endif
}
