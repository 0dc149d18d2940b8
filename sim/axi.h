// What the core shows on AXI in a cycle, and the rules that hold for it whatever the memory.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "VCore.h"

// How Verilator spells Amaranth's `axi__awvalid`.
#define AXI(port) top->axi___05F##port

constexpr unsigned VECTOR = 16;
constexpr unsigned BURST_BOUNDARY = 4096;
constexpr unsigned MAX_FAILURES = 20;

struct Log {
    uint64_t now = 0;  // cycle
    std::vector<std::string> failures;

    void fail(const std::string &what) {
        if (failures.size() < MAX_FAILURES)
            failures.push_back("cycle " + std::to_string(now) + ": " + what);
    }
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

struct AxiCycle {  // handshakes of one cycle, and what the core shows in it
    bool ar_taken, aw_taken, w_taken, r_taken, b_taken;
    Address ar, aw;
    WriteBeat w;  // if WVALID
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

struct AxiRules {
    uint64_t size = 0;  // of the memory, bytes
    HoldCheck<Address> ar_hold, aw_hold;
    HoldCheck<WriteBeat> w_hold;

    AxiCycle look(const VCore *top, Log &log) {
        AxiCycle cycle{AXI(arvalid) && AXI(arready),
                       AXI(awvalid) && AXI(awready),
                       AXI(wvalid) && AXI(wready),
                       AXI(rvalid) && AXI(rready),
                       AXI(bvalid) && AXI(bready),
                       {AXI(araddr), AXI(arlen), AXI(arsize), AXI(arburst)},
                       {AXI(awaddr), AXI(awlen), AXI(awsize), AXI(awburst)},
                       {}};
        if (ar_hold.broken(AXI(arvalid), AXI(arready), cycle.ar))
            log.fail("ARVALID or its payload changed before ARREADY");
        if (cycle.ar_taken) check_burst("AR", cycle.ar, log);
        if (aw_hold.broken(AXI(awvalid), AXI(awready), cycle.aw))
            log.fail("AWVALID or its payload changed before AWREADY");
        if (cycle.aw_taken) check_burst("AW", cycle.aw, log);
        if (AXI(wvalid)) {
            cycle.w.strobe = AXI(wstrb), cycle.w.last = AXI(wlast);
            std::memcpy(cycle.w.data, AXI(wdata).data(), VECTOR);
            if (w_hold.broken(true, AXI(wready), cycle.w))
                log.fail("the payload of W changed before WREADY");
        } else if (w_hold.waiting) {
            log.fail("WVALID dropped before WREADY");
            w_hold.waiting = false;
        }
        return cycle;
    }

    void check_burst(const char *channel, const Address &request, Log &log) const {
        unsigned beats = request.len + 1u;
        uint64_t last = uint64_t(request.address) + uint64_t(beats) * VECTOR - 1;
        std::string where = std::string(channel) + " of " + std::to_string(beats) +
                            " beats at byte " + std::to_string(request.address) + ": ";
        if (request.size != 4) log.fail(where + "size is not 16 bytes a beat");
        if (request.burst != 1) log.fail(where + "burst is not INCR");
        if (request.address % VECTOR) log.fail(where + "not aligned to 16 bytes");
        if (request.address / BURST_BOUNDARY != last / BURST_BOUNDARY)
            log.fail(where + "crosses a 4 KiB boundary");
        if (last >= size)
            log.fail(where + "outside the memory of " + std::to_string(size) + " bytes");
    }

    void reset() { ar_hold.waiting = aw_hold.waiting = w_hold.waiting = false; }
};
