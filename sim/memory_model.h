// A model of memory behind AXI: latency, bandwidth, random stalls and injected errors.

#pragma once

#include <algorithm>
#include <deque>

#include "axi.h"

struct MemoryModel {
    static constexpr unsigned READ_QUEUE = 4;    // beats fetched ahead of the R channel
    static constexpr unsigned WRITE_QUEUE = 32;  // beats accepted ahead of the memory
    static constexpr unsigned RESET_CYCLES = 4;

    enum Response : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

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

    std::vector<uint8_t> memory;
    unsigned latency = 30, bytes_per_cycle = 16, max_reads = 8, max_writes = 8, stall_percent = 0;
    uint64_t random = 1;
    uint64_t error_first = 1, error_last = 0;  // byte range that answers SLVERR

    unsigned budget = 0;
    bool write_turn = false;
    std::deque<Burst> reads, writes, responses;
    std::deque<ReadBeat> read_queue;
    std::deque<WriteBeat> write_queue;
    bool read_shown = false, response_shown = false;
    uint64_t beats_read = 0, beats_written = 0;

    MemoryModel(uint64_t bytes, VCore *) : memory(bytes) {}

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

    // The numpy array is the memory itself.
    void load() {}
    void unload() {}

    // Inputs of this cycle. What was shown and not taken stays.
    void drive(VCore *top, uint64_t now) {
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

    void take(const AxiCycle &cycle, Log &log) {
        auto burst = [&](const Address &request) {
            return Burst{request.address, request.len + 1u, log.now + latency, OKAY};
        };
        if (cycle.ar_taken) reads.push_back(burst(cycle.ar));
        if (cycle.aw_taken) writes.push_back(burst(cycle.aw));
        if (cycle.w_taken) write_queue.push_back(cycle.w);
        if (cycle.r_taken) read_queue.pop_front(), read_shown = false;
        if (cycle.b_taken) responses.pop_front(), response_shown = false;
    }

    // The memory moves `bytes_per_cycle`, reads and writes together; both take turns.
    void move(Log &log) {
        budget += bytes_per_cycle;
        while (budget >= VECTOR) {
            bool read = !reads.empty() && reads.front().ready_at <= log.now + 1 &&
                        read_queue.size() < READ_QUEUE;
            bool write = !writes.empty() && !write_queue.empty();
            if (!read && !write) {
                // while idle it saves up just enough to move a beat in the next cycle
                budget = std::min(budget, VECTOR - std::min(VECTOR, bytes_per_cycle));
                return;
            }
            if (write && (!read || write_turn))
                write_beat(log);
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

    void write_beat(Log &log) {
        Burst &burst = writes.front();
        const WriteBeat &beat = write_queue.front();
        if (beat.last != (burst.left == 1)) log.fail("WLAST is not on the last beat of its burst");
        uint8_t response = response_at(burst.address);
        burst.response = std::max(burst.response, response);
        if (response == OKAY)
            for (unsigned i = 0; i < VECTOR; i++)
                if (beat.strobe >> i & 1) memory[burst.address + i] = beat.data[i];
        write_queue.pop_front();
        burst.address += VECTOR;
        if (--burst.left == 0) {
            burst.ready_at = log.now + latency;
            responses.push_back(burst);
            writes.pop_front();
        }
        beats_written++;
        write_turn = false;
    }

    void reset(VCore *top) {
        AXI(arready) = AXI(awready) = AXI(wready) = 0;
        AXI(rvalid) = AXI(bvalid) = 0;
        for (auto *queue : {&reads, &writes, &responses}) queue->clear();
        read_queue.clear();
        write_queue.clear();
        read_shown = response_shown = false;
        budget = 0;
    }
};
