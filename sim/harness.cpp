// Harness of a Verilated core: clock, CSR transactions, a model of AXI memory and probes,
// behind the C interface that sim/harness.py loads.
//
// One cycle: drive the inputs, evaluate with the clock low, sample what the core shows, evaluate
// with the clock high, let the memory move data. All inputs change between clock edges only.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "VCore.h"
#include "verilated.h"
#ifdef WAVES
#include "verilated_vcd_c.h"
#endif

// How Verilator spells Amaranth's `axi__awvalid` and, a word of C++ to it, `interrupt`.
#define AXI(port) top->axi___05F##port
#define CSR(port) top->csr___05F##port
#define PROBE(port) top->probe___05F##port
#define INTERRUPT __SYM__interrupt

namespace {

constexpr unsigned VECTOR = 16;
constexpr unsigned BURST_BOUNDARY = 4096;
constexpr unsigned READ_QUEUE = 4;    // beats fetched ahead of the R channel
constexpr unsigned WRITE_QUEUE = 32;  // beats accepted ahead of the memory
constexpr unsigned CSR_TIMEOUT = 100000;
constexpr unsigned MAX_FAILURES = 20;
constexpr unsigned STATES = 8;

enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

struct Record {  // one probed vector, as NumPy reads it
    uint8_t stage, branch, data[VECTOR];
};

struct Address {  // what AR or AW shows
    uint32_t address;
    uint8_t len, size, burst;
    bool operator==(const Address &) const = default;
};

struct WriteBeat {
    uint8_t data[VECTOR];
    uint16_t strobe;
    bool last;
    bool operator==(const WriteBeat &) const = default;
};

struct ReadBeat {
    uint8_t data[VECTOR];
    uint8_t response;
    bool last;
};

struct Burst {
    uint64_t address;
    unsigned left;      // beats still to move
    uint64_t ready_at;  // first cycle in which a beat or the response may show
    uint8_t response;
};

// A manager must hold valid and its payload until ready.
template <typename Payload>
struct HoldCheck {
    bool waiting = false;
    Payload payload{};

    bool broken(bool valid, bool ready, const Payload &now) {
        bool bad = waiting && (!valid || !(payload == now));
        waiting = valid && !ready;
        payload = now;
        return bad;
    }
};

struct Harness {
    VerilatedContext context;
    std::unique_ptr<VCore> top;
#ifdef WAVES
    std::unique_ptr<VerilatedVcdC> waves;
#endif
    std::vector<uint8_t> memory;

    unsigned latency = 30, bytes_per_cycle = 16, max_reads = 8, max_writes = 8, stall_percent = 0;
    uint64_t random = 1;
    uint64_t error_first = 1, error_last = 0;  // byte range that answers SLVERR

    uint64_t now = 0;
    unsigned budget = 0;
    bool write_turn = false;
    std::deque<Burst> reads, writes, responses;
    std::deque<ReadBeat> read_queue;
    std::deque<WriteBeat> write_queue;
    HoldCheck<Address> ar_hold, aw_hold;
    HoldCheck<WriteBeat> w_hold;
    bool read_shown = false, response_shown = false;

    struct {
        bool awready, wready, bvalid, arready, rvalid;
        uint8_t response;
        uint32_t data;
    } csr{};  // the CSR port in the last cycle

    std::vector<Record> results, outputs;
    std::vector<uint64_t> histogram;  // [layer][state], cycles of harness_run only
    bool running = false;
    uint64_t beats_read = 0, beats_written = 0;
    std::vector<std::string> failures;
    std::string failure_text;

    explicit Harness(uint64_t bytes) : memory(bytes) {
#ifdef WAVES
        context.traceEverOn(true);
#endif
        top.reset(new VCore(&context, "core"));
    }

    ~Harness() {
#ifdef WAVES
        if (waves) waves->close();
#endif
        top->final();
    }

    void fail(const std::string &what) {
        if (failures.size() < MAX_FAILURES)
            failures.push_back("cycle " + std::to_string(now) + ": " + what);
    }

    bool stalled() {
        if (!stall_percent) return false;
        random ^= random >> 12, random ^= random << 25, random ^= random >> 27;
        return (random * 0x2545f4914f6cdd1dULL >> 33) % 100 < stall_percent;
    }

    uint8_t response_at(uint64_t address) const {
        if (address + VECTOR > memory.size()) return DECERR;
        bool hit = address + VECTOR > error_first && address <= error_last;
        return hit && error_first <= error_last ? SLVERR : OKAY;
    }

    size_t outstanding() const {
        return reads.size() + read_queue.size() + writes.size() + write_queue.size() +
               responses.size();
    }

    // Inputs of this cycle. What was shown and not taken stays.
    void drive() {
        AXI(arready) = reads.size() < max_reads && !stalled();
        AXI(awready) = writes.size() + responses.size() < max_writes && !stalled();
        AXI(wready) = write_queue.size() < WRITE_QUEUE && !stalled();
        read_shown = read_shown || (!read_queue.empty() && !stalled());
        AXI(rvalid) = read_shown;
        if (read_shown) {
            const ReadBeat &beat = read_queue.front();
            std::memcpy(AXI(rdata).data(), beat.data, VECTOR);
            AXI(rresp) = beat.response;
            AXI(rlast) = beat.last;
        }
        response_shown =
            response_shown ||
            (!responses.empty() && responses.front().ready_at <= now && !stalled());
        AXI(bvalid) = response_shown;
        if (response_shown) AXI(bresp) = responses.front().response;
    }

    Burst accept(const char *channel, const Address &request) {
        unsigned beats = request.len + 1u;
        uint64_t last = uint64_t(request.address) + uint64_t(beats) * VECTOR - 1;
        std::string where = std::string(channel) + " of " + std::to_string(beats) +
                            " beats at byte " + std::to_string(request.address) + ": ";
        if (request.size != 4) fail(where + "size is not 16 bytes a beat");
        if (request.burst != 1) fail(where + "burst is not INCR");
        if (request.address % VECTOR) fail(where + "not aligned to 16 bytes");
        if (request.address / BURST_BOUNDARY != last / BURST_BOUNDARY)
            fail(where + "crosses a 4 KiB boundary");
        if (last >= memory.size())
            fail(where + "outside the memory of " + std::to_string(memory.size()) + " bytes");
        return {request.address, beats, now + latency, OKAY};
    }

    // What the core shows in this cycle, with the clock low.
    void sample() {
        Address ar{AXI(araddr), uint8_t(AXI(arlen)), uint8_t(AXI(arsize)),
                   uint8_t(AXI(arburst))};
        if (ar_hold.broken(AXI(arvalid), AXI(arready), ar))
            fail("ARVALID or its payload changed before ARREADY");
        if (AXI(arvalid) && AXI(arready)) reads.push_back(accept("AR", ar));

        Address aw{AXI(awaddr), uint8_t(AXI(awlen)), uint8_t(AXI(awsize)),
                   uint8_t(AXI(awburst))};
        if (aw_hold.broken(AXI(awvalid), AXI(awready), aw))
            fail("AWVALID or its payload changed before AWREADY");
        if (AXI(awvalid) && AXI(awready)) writes.push_back(accept("AW", aw));

        if (AXI(wvalid)) {
            WriteBeat beat{{}, AXI(wstrb), bool(AXI(wlast))};
            std::memcpy(beat.data, AXI(wdata).data(), VECTOR);
            if (w_hold.broken(true, AXI(wready), beat))
                fail("the payload of W changed before WREADY");
            if (AXI(wready)) write_queue.push_back(beat);
        } else if (w_hold.waiting) {
            fail("WVALID dropped before WREADY");
            w_hold.waiting = false;
        }

        if (read_shown && AXI(rready)) read_queue.pop_front(), read_shown = false;
        if (response_shown && AXI(bready)) responses.pop_front(), response_shown = false;

        csr = {bool(CSR(awready)), bool(CSR(wready)), bool(CSR(bvalid)),
               bool(CSR(arready)), bool(CSR(rvalid)),
               uint8_t(CSR(bvalid) ? CSR(bresp) : CSR(rresp)), CSR(rdata)};

        if (PROBE(result)[0] & 1) {
            uint32_t low = PROBE(result)[0];
            record(results, (low >> 1) & 3, (low >> 3) & 1, 4, PROBE(result).data());
        }
        if (PROBE(output)[0] & 1)
            record(outputs, 0, (PROBE(output)[0] >> 1) & 1, 2, PROBE(output).data());
        if (running) {
            size_t cell = size_t(PROBE(layer)) * STATES + PROBE(state);
            if (cell >= histogram.size()) histogram.resize((cell / STATES + 1) * STATES);
            histogram[cell]++;
        }
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

    // The memory moves `bytes_per_cycle`, reads and writes together; both take turns.
    void move() {
        budget += bytes_per_cycle;
        while (budget >= VECTOR) {
            bool read = !reads.empty() && reads.front().ready_at <= now + 1 &&
                        read_queue.size() < READ_QUEUE;
            bool write = !writes.empty() && !write_queue.empty();
            if (!read && !write) {
                // while idle it saves up just enough to move a beat in the next cycle
                budget = std::min(budget, VECTOR - std::min(VECTOR, bytes_per_cycle));
                return;
            }
            if (write && (!read || write_turn))
                write_beat();
            else
                read_beat();
            budget -= VECTOR;
        }
    }

    void read_beat() {
        Burst &burst = reads.front();
        ReadBeat beat{{}, response_at(burst.address), burst.left == 1};
        if (beat.response != DECERR) std::memcpy(beat.data, &memory[burst.address], VECTOR);
        read_queue.push_back(beat);
        burst.address += VECTOR;
        if (--burst.left == 0) reads.pop_front();
        beats_read++;
        write_turn = true;
    }

    void write_beat() {
        Burst &burst = writes.front();
        const WriteBeat &beat = write_queue.front();
        if (beat.last != (burst.left == 1)) fail("WLAST is not on the last beat of its burst");
        uint8_t response = response_at(burst.address);
        burst.response = std::max(burst.response, response);
        if (response == OKAY)
            for (unsigned i = 0; i < VECTOR; i++)
                if (beat.strobe >> i & 1) memory[burst.address + i] = beat.data[i];
        write_queue.pop_front();
        burst.address += VECTOR;
        if (--burst.left == 0) {
            burst.ready_at = now + latency;
            responses.push_back(burst);
            writes.pop_front();
        }
        beats_written++;
        write_turn = false;
    }

    void dump(unsigned half) {
#ifdef WAVES
        if (waves) waves->dump(2 * now + half);
#else
        (void)half;
#endif
    }

    void cycle() {
        drive();
        top->clk = 0;
        top->eval();
        dump(0);
        sample();
        top->clk = 1;
        top->eval();
        dump(1);
        move();
        now++;
    }

    void reset() {
        AXI(arready) = AXI(awready) = AXI(wready) = 0;
        AXI(rvalid) = AXI(bvalid) = 0;
        CSR(awvalid) = CSR(wvalid) = CSR(arvalid) = 0;
        CSR(bready) = CSR(rready) = 0;
        top->rst = 1;
        for (int i = 0; i < 4; i++, now++) {
            for (int clock = 0; clock < 2; clock++) top->clk = clock, top->eval(), dump(clock);
        }
        top->rst = 0;
        for (auto *queue : {&reads, &writes, &responses}) queue->clear();
        read_queue.clear();
        write_queue.clear();
        read_shown = response_shown = false;
        ar_hold.waiting = aw_hold.waiting = w_hold.waiting = false;
        budget = 0;
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
API uint8_t *harness_memory(Harness *h) { return h->memory.data(); }
API void harness_reset(Harness *h) { h->reset(); }

API void harness_configure(Harness *h, unsigned latency, unsigned bytes_per_cycle,
                           unsigned max_reads, unsigned max_writes, unsigned stall_percent,
                           uint64_t seed) {
    h->latency = latency, h->bytes_per_cycle = bytes_per_cycle;
    h->max_reads = max_reads, h->max_writes = max_writes;
    h->stall_percent = stall_percent;
    h->random = seed * 0x9e3779b97f4a7c15ULL | 1;
}

API void harness_inject(Harness *h, uint64_t first, uint64_t last) {
    h->error_first = first, h->error_last = last;
}

API int harness_csr_write(Harness *h, uint32_t address, uint32_t value) {
    return h->csr_write(address, value);
}
API int harness_csr_read(Harness *h, uint32_t address, uint32_t *value) {
    return h->csr_read(address, value);
}

// Runs until the interrupt is high or `cycles` have passed; returns the cycles run.
API uint64_t harness_run(Harness *h, uint64_t cycles) {
    uint64_t start = h->now;
    h->running = true;
    while (h->now - start < cycles && !h->top->INTERRUPT) h->cycle();
    h->running = false;
    return h->now - start;
}
API int harness_interrupt(Harness *h) { return h->top->INTERRUPT; }
API uint64_t harness_now(Harness *h) { return h->now; }
API uint64_t harness_outstanding(Harness *h) { return h->outstanding(); }
API uint64_t harness_beats_read(Harness *h) { return h->beats_read; }
API uint64_t harness_beats_written(Harness *h) { return h->beats_written; }

API const Record *harness_results(Harness *h, uint64_t *count) {
    *count = h->results.size();
    return h->results.data();
}
API const Record *harness_outputs(Harness *h, uint64_t *count) {
    *count = h->outputs.size();
    return h->outputs.data();
}
API const uint64_t *harness_histogram(Harness *h, uint64_t *layers) {
    *layers = h->histogram.size() / STATES;
    return h->histogram.data();
}
API const char *harness_failures(Harness *h) {  // one a line
    h->failure_text.clear();
    for (const auto &failure : h->failures) h->failure_text += failure + "\n";
    return h->failure_text.c_str();
}

// Forgets probes, histogram, beats and failures.
API void harness_clear(Harness *h) {
    h->results.clear(), h->outputs.clear(), h->histogram.clear(), h->failures.clear();
    h->beats_read = h->beats_written = 0;
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
