// The simulated board: the Verilated machine, a DDR with timing, and the AXI-Lite bus of a host.
//
// Every cycle: drive inputs from the models' state, let the combinational logic settle (clk = 0),
// sample the handshakes, clock (clk = 1). Ports of the machine: docs/architecture.md, "Top".

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

struct DdrParameters {
    double bytes_per_cycle;
    uint32_t latency, refresh_interval, refresh_cycles, read_queue, write_queue;
};

// One word written on chip.
struct WriteRecord {
    uint64_t cycle;
    uint16_t addr;
    uint8_t writer, dst;  // writer: 0 LOAD, 1 MAC, 2 VEC
    uint32_t zero;
    uint8_t data[16];
};

// Engines (one bit each) that started or retired an instruction in a cycle.
struct Event {
    uint64_t cycle;
    uint32_t start, retire;
};

struct Burst {
    uint64_t ready;  // cycle of the first beat
    uint32_t addr;
    uint32_t beats;
};

struct ReadPort {
    std::deque<Burst> queue;
    bool valid = false, last = false;
    uint64_t data = 0;
    uint8_t resp = 0;
};

struct WritePort {
    std::deque<Burst> queue;
    std::deque<std::pair<uint64_t, uint8_t>> responses;  // cycle, bresp
    bool failed = false;
};

constexpr uint8_t DECERR = 3;

struct Board {
    VerilatedContext context;
    Vtop top{&context};
    DdrParameters ddr;
    std::vector<uint8_t> memory;
    uint32_t base;
    uint32_t lanes;
    uint64_t cycle = 0, last_beat = 0;
    double tokens = 0;
    ReadPort read[2];
    WritePort write;
    bool log_writes = false;
    std::vector<WriteRecord> writes;
    std::vector<Event> events;
    uint64_t bytes_read = 0, bytes_written = 0;

    bool inside(uint32_t addr) const {
        return addr >= base && uint64_t(addr) + 8 <= uint64_t(base) + memory.size();
    }

    bool refreshing() const {
        return ddr.refresh_interval && cycle % ddr.refresh_interval < ddr.refresh_cycles;
    }

    void refill() {
        if (!refreshing()) tokens += ddr.bytes_per_cycle;
        const double most = 8 * ddr.bytes_per_cycle + 16;
        if (tokens > most) tokens = most;
    }

    void next_beat(ReadPort& p) {
        if (p.valid || p.queue.empty() || p.queue.front().ready > cycle || tokens < 8) return;
        if (refreshing()) return;
        Burst& b = p.queue.front();
        p.resp = inside(b.addr) ? 0 : DECERR;
        p.data = 0;
        if (!p.resp) std::memcpy(&p.data, &memory[b.addr - base], 8);
        b.addr += 8;
        p.last = --b.beats == 0;
        p.valid = true;
        tokens -= 8;
        bytes_read += 8;
        if (p.last) p.queue.pop_front();
    }

    void drive() {
        refill();
        const int first = cycle & 1;
        next_beat(read[first]);
        next_beat(read[1 - first]);
#define DRIVE(port, p)                                       \
    top.port##__read__arready = p.queue.size() < ddr.read_queue; \
    top.port##__read__rvalid = p.valid;                      \
    top.port##__read__rdata = p.data;                        \
    top.port##__read__rresp = p.resp;                        \
    top.port##__read__rlast = p.last;                        \
    top.port##__read__rid = 0;
        DRIVE(m0, read[0])
        DRIVE(m1, read[1])
#undef DRIVE
        top.m0__write__awready = write.queue.size() < ddr.write_queue;
        top.m0__write__wready = !write.queue.empty() && tokens >= 8 && !refreshing();
        const bool answer = !write.responses.empty() && write.responses.front().first <= cycle;
        top.m0__write__bvalid = answer;
        top.m0__write__bresp = answer ? write.responses.front().second : 0;
        top.m0__write__bid = 0;
    }

    void sample() {
#define SAMPLE(port, p)                                                                       \
    if (p.valid && top.port##__read__rready) p.valid = false;                                 \
    if (top.port##__read__arvalid && top.port##__read__arready)                               \
        p.queue.push_back({cycle + ddr.latency, uint32_t(top.port##__read__araddr),           \
                           uint32_t(top.port##__read__arlen) + 1});
        SAMPLE(m0, read[0])
        SAMPLE(m1, read[1])
#undef SAMPLE
        if (top.m0__write__bvalid && top.m0__write__bready) write.responses.pop_front();
        if (top.m0__write__wvalid && top.m0__write__wready) {
            Burst& b = write.queue.front();
            const uint64_t data = top.m0__write__wdata;
            if (inside(b.addr)) {
                for (int i = 0; i < 8; i++)
                    if (top.m0__write__wstrb >> i & 1) memory[b.addr - base + i] = data >> 8 * i;
            } else {
                write.failed = true;
            }
            tokens -= 8;
            bytes_written += 8;
            b.addr += 8;
            if (--b.beats == 0) {
                write.responses.push_back({cycle + ddr.latency, write.failed ? DECERR : 0});
                write.failed = false;
                write.queue.pop_front();
            }
        }
        if (top.m0__write__awvalid && top.m0__write__awready)
            write.queue.push_back({0, uint32_t(top.m0__write__awaddr),
                                   uint32_t(top.m0__write__awlen) + 1});
        if (top.trace__start | top.trace__retire)
            events.push_back({cycle, uint32_t(top.trace__start), uint32_t(top.trace__retire)});
        if (log_writes) {
            if (top.trace__load_valid)
                record(0, top.trace__load_dst, top.trace__load_addr, &top.trace__load_data);
            if (top.trace__mac_valid)
                record(1, 0, top.trace__mac_addr, &top.trace__mac_data);
            if (top.trace__vec_valid)
                record(2, 0, top.trace__vec_addr, &top.trace__vec_data);
        }
    }

    void record(uint8_t writer, uint8_t dst, uint16_t addr, const void* data) {
        WriteRecord r{cycle, addr, writer, dst, 0, {}};
        std::memcpy(r.data, data, lanes);
        writes.push_back(r);
    }

    void tick() {
        drive();
        top.clk = 0;
        top.eval();
        sample();
        top.clk = 1;
        top.eval();
        cycle++;
    }
};

}  // namespace

extern "C" {

Board* board_new(uint32_t base, uint32_t size, uint32_t lanes, const DdrParameters* ddr) {
    Board* b = new Board;
    b->base = base;
    b->memory.resize(size);
    b->lanes = lanes;
    b->ddr = *ddr;
    b->top.rst = 1;
    for (int i = 0; i < 8; i++) b->tick();
    b->top.rst = 0;
    b->tick();
    b->events.clear();
    return b;
}

void board_free(Board* b) { delete b; }
uint8_t* board_memory(Board* b) { return b->memory.data(); }
uint64_t board_cycle(const Board* b) { return b->cycle; }
uint64_t board_bytes_read(const Board* b) { return b->bytes_read; }
uint64_t board_bytes_written(const Board* b) { return b->bytes_written; }

// Returns 0, or 1 if the slave does not answer within 10,000 cycles.
int board_write_register(Board* b, uint32_t offset, uint32_t value) {
    b->top.axil__awaddr = offset;
    b->top.axil__awvalid = 1;
    b->top.axil__wdata = value;
    b->top.axil__wstrb = 15;
    b->top.axil__wvalid = 1;
    b->top.axil__bready = 1;
    bool done = false;
    for (int i = 0; i < 10000 && !done; i++) {
        b->top.clk = 0;
        b->top.eval();
        const bool aw = b->top.axil__awvalid && b->top.axil__awready;
        const bool w = b->top.axil__wvalid && b->top.axil__wready;
        done = b->top.axil__bvalid;
        b->tick();
        if (aw) b->top.axil__awvalid = 0;
        if (w) b->top.axil__wvalid = 0;
    }
    b->top.axil__bready = 0;
    return !done;
}

int board_read_register(Board* b, uint32_t offset, uint32_t* value) {
    b->top.axil__araddr = offset;
    b->top.axil__arvalid = 1;
    b->top.axil__rready = 1;
    bool done = false;
    for (int i = 0; i < 10000 && !done; i++) {
        b->top.clk = 0;
        b->top.eval();
        const bool ar = b->top.axil__arvalid && b->top.axil__arready;
        done = b->top.axil__rvalid;
        if (done) *value = b->top.axil__rdata;
        b->tick();
        if (ar) b->top.axil__arvalid = 0;
    }
    b->top.axil__rready = 0;
    return !done;
}

// Runs until the interrupt is raised or ``most`` cycles have passed; returns the cycles run.
uint64_t board_run(Board* b, uint64_t most) {
    const uint64_t from = b->cycle;
    while (b->cycle - from < most && !b->top.irq) b->tick();
    return b->cycle - from;
}

int board_irq(const Board* b) { return b->top.irq; }

void board_log(Board* b, int writes) {
    b->log_writes = writes;
    b->writes.clear();
    b->events.clear();
}

const WriteRecord* board_writes(const Board* b, uint64_t* n) {
    *n = b->writes.size();
    return b->writes.data();
}

const Event* board_events(const Board* b, uint64_t* n) {
    *n = b->events.size();
    return b->events.data();
}
}
