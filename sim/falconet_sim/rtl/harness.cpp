// A Verilated Falconet with DDR around it, as a shared library for falconet_sim.rtl.board.
//
// All inputs of the machine come from registers of this file: they are set before the rising edge,
// outputs are sampled just before it. One call of Sim::step is one clock cycle. The DDR model is
// described in falconet_sim/rtl/ddr.py.
//
// Every burst is checked against the windows that the registers have set, and every byte written.
// Faults can be planned: falconet_sim/rtl/faults.py.
//
// FALCONET_LANES: lanes of the machine. FALCONET_ENGINES: engines. FALCONET_TRACE: 1 if it has the
// trace port. FALCONET_WINDOWS: offset of the registers base, size of each segment;
// FALCONET_SEGMENTS: how many; FALCONET_WRITABLE: bit s: segment s may be written.
// FALCONET_CONTROL: offset of the register CONTROL; FALCONET_START: its bit START.
// VM_COVERAGE, VM_TRACE: 1 if Verilator counts coverage, draws waveforms.
// FALCONET_MUTANTS: 1 if the machine has the input "mutant".

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

// Verilator spells a port's double underscore "___05F".
#define AXIL(name) top_->axil___05F##name
#define READ(port, name) top_->port##___05Fread___05F##name
#define WRITE(name) top_->m0___05Fwrite___05F##name
#define TRACE(name) top_->trace___05F##name

double sc_time_stamp() { return 0; }

namespace {

#if FALCONET_MUTANTS
int mutant = 0;  // of every machine made from now on
#endif

constexpr unsigned kBeat = 8, kOkay = 0, kDecErr = 3;

struct DdrConfig {
    double bytes_per_cycle, bucket_bytes;
    uint32_t first_beat_latency, write_latency, refresh_interval, refresh_cycles;
    uint32_t outstanding, queue_beats;
};

#pragma pack(push, 1)
struct WriteRecord {  // a word that an on-chip memory accepted
    uint64_t cycle;
    uint16_t addr;
    uint8_t writer, dst;
    uint8_t data[FALCONET_LANES];
};
struct EventRecord {  // an instruction started (kind 0) or retired (kind 1)
    uint64_t cycle;
    uint8_t engine, kind;
};
#pragma pack(pop)

enum FaultKind : uint32_t { kAnswer, kHoldAddress, kHoldData, kHoldAnswer };

struct Fault {  // of one burst
    uint32_t port, kind, beat;  // port: 0, 1 read by m0, m1, 2 written
    uint64_t burst, value;      // number of the burst; response, or cycles
};

struct Burst {
    uint64_t ready;  // first cycle in which a beat may move
    uint32_t addr;
    uint8_t beats, id;
    bool bad;
    uint8_t answer = kOkay, answer_beat = 0, hold_beat = 0;  // of a Fault
    uint64_t hold = 0, hold_answer = 0;
};

struct ReadBeat {
    uint64_t data;
    uint8_t resp, id;
    bool last;
    uint32_t addr;  // of the burst
};

struct Response {
    uint64_t ready;
    uint8_t resp, id;
    uint32_t addr;
};

struct Address {  // a raised address channel, to see that it keeps still
    bool valid = false;
    uint32_t addr = 0, len = 0;
    bool held = false;
};

class Sim {
public:
    Sim(const DdrConfig& config, uint8_t* memory, uint64_t base, uint64_t size, bool windows)
        : config_(config), memory_(memory), base_(base), size_(size), windows_(windows),
          context_(new VerilatedContext), top_(new Vtop(context_.get())) {
        budget_ = config.bucket_bytes;
#if FALCONET_MUTANTS
        top_->mutant = mutant;
#endif
        top_->clk = 0;
        top_->rst = 1;
        for (int i = 0; i < 8; ++i) step();
        top_->rst = 0;
        for (int i = 0; i < 64; ++i) step();
    }
    ~Sim() {
#if VM_TRACE
        if (vcd_) vcd_->close();
#endif
        top_->final();
    }

    bool write_register(uint32_t offset, uint32_t value) {
        if (offset == FALCONET_CONTROL && (value & FALCONET_START)) begin();
        AXIL(awaddr) = offset;
        AXIL(wdata) = value;
        AXIL(wstrb) = 15;
        AXIL(awvalid) = AXIL(wvalid) = AXIL(bready) = 1;
        bool done = false;
        for (int i = 0; i < kPatience && !done; ++i) {
            settle();
            bool aw = AXIL(awvalid) && AXIL(awready);
            bool w = AXIL(wvalid) && AXIL(wready);
            done = AXIL(bvalid);
            step();
            if (aw) AXIL(awvalid) = 0;
            if (w) AXIL(wvalid) = 0;
        }
        AXIL(awvalid) = AXIL(wvalid) = AXIL(bready) = 0;
        const uint32_t at = (offset - FALCONET_WINDOWS) / 4;
        if (at < 2 * FALCONET_SEGMENTS) window_[at] = value & (at % 2 ? ~127u : ~4095u);
        return done || fail("AXI-Lite: no answer to a write of register 0x%02x", offset);
    }

    bool read_register(uint32_t offset, uint32_t* value) {
        AXIL(araddr) = offset;
        AXIL(arvalid) = AXIL(rready) = 1;
        bool done = false;
        for (int i = 0; i < kPatience && !done; ++i) {
            settle();
            bool ar = AXIL(arvalid) && AXIL(arready);
            done = AXIL(rvalid);
            if (done) *value = AXIL(rdata);
            step();
            if (ar) AXIL(arvalid) = 0;
        }
        AXIL(arvalid) = AXIL(rready) = 0;
        return done || fail("AXI-Lite: no answer to a read of register 0x%02x", offset);
    }

    // 1: interrupt; 0: so many cycles have passed; -1: an error, see error().
    int run(uint64_t cycles) {
        for (uint64_t i = 0; i < cycles && error_.empty(); ++i) {
            if (top_->irq) return 1;
            step();
        }
        return !error_.empty() ? -1 : top_->irq ? 1 : 0;
    }

    uint64_t cycle = 0, active = 0;  // now; and when the machine last moved a beat or retired
    uint64_t beats[3] = {0, 0, 0};   // read by m0, by m1, written
    uint64_t bursts[3] = {0, 0, 0};  // accepted, likewise
    struct {  // answers that were errors, planned holds that held something; of the first error
              // since the last plan: when it came, and the address of its burst
        uint64_t errors, holds, cycle, addr;
    } suffered = {};
    bool log_writes = false, log_events = false;
    std::vector<WriteRecord> writes;
    std::vector<EventRecord> events;
    const char* error() const { return error_.c_str(); }

    void plan(const Fault& fault) {
        faults_.push_back(fault);
        suffered.cycle = 0;
    }
    // Forget what is planned, and let go what is held.
    void relent() {
        faults_.clear();
        for (auto& until : closed_until_) until = 0;
        for (auto* queue : {&reads_[0], &reads_[1], &awaiting_})
            for (Burst& b : *queue) {
                b.hold = b.hold_answer = b.answer = 0;
                if (queue == &awaiting_ || b.ready > cycle + config_.first_beat_latency)
                    b.ready = cycle;
            }
        for (Response& r : responses_)
            if (r.ready > cycle + config_.write_latency) r.ready = cycle;
    }

#if VM_COVERAGE
    void save_coverage(const char* file) { context_->coveragep()->write(file); }
#endif
#if VM_TRACE
    // From now on cycles [begin, end) go to a file, two time steps a cycle.
    void draw(const char* file, uint64_t begin, uint64_t end) {
        if (vcd_) vcd_->close();
        context_->traceEverOn(true);
        vcd_.reset(new VerilatedVcdC);
        top_->trace(vcd_.get(), 99);
        vcd_->open(file);
        draw_begin_ = begin;
        draw_end_ = end;
    }
#endif

private:
    static constexpr int kPatience = 1000;
    // The memory's time at START: that of a driver's first run after power-up.
    static constexpr uint64_t kBegin = 1126;
    static constexpr int kReaders = 2;
    static constexpr int kWrite = kReaders;  // the write port

    DdrConfig config_;
    uint8_t* memory_;
    uint64_t base_, size_;
    bool windows_;
    uint32_t window_[2 * FALCONET_SEGMENTS] = {};  // base, size of each segment, as in the registers
    std::vector<Fault> faults_;
    uint64_t closed_until_[kReaders + 1] = {};  // address channels
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    std::string error_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd_;
    uint64_t draw_begin_ = 0, draw_end_ = 0;
#endif
    double budget_ = 0;
    uint64_t power_up_ = 0;  // the cycle in which the memory's time is 0
    std::deque<Burst> reads_[kReaders], awaiting_;
    std::deque<ReadBeat> data_[kReaders];
    std::deque<Response> responses_;
    unsigned beat_[kReaders] = {0, 0}, write_beat_ = 0;
    int turn_ = 0;
    bool write_may_move_ = false;
    Address raised_[kReaders + 1];

    bool fail(const char* format, ...) {
        if (!error_.empty()) return false;
        char text[256];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        char head[64];
        snprintf(head, sizeof head, "cycle %llu: ", static_cast<unsigned long long>(cycle));
        error_ = std::string(head) + text;
        return false;
    }

    // A run finds the memory as every run does, whatever was before: when the next refresh comes,
    // which port is first, what bandwidth is saved up.
    void begin() {
        power_up_ = cycle - kBegin;
        turn_ = 0;
        budget_ = config_.bucket_bytes;
    }

    bool reachable(uint32_t addr, unsigned beats) const {
        return addr >= base_ && addr + uint64_t(beats) * kBeat <= base_ + size_;
    }

    void settle() {
        top_->clk = 0;
        top_->eval();
    }

    // What an address channel owes its slave (AXI3: A3.2.1, A3.4.1).
    void check(int port, const char* name, bool valid, bool ready, uint32_t addr, uint32_t len,
               uint32_t size, uint32_t burst) {
        Address& was = raised_[port];
        if (was.valid && (!valid || was.addr != addr || was.len != len))
            fail("%s: the address 0x%08x was taken back", name, was.addr);
        if (valid && !was.valid) {
            uint32_t end = addr + (len + 1) * kBeat - 1;
            if (size != 3 || burst != 1)
                fail("%s: size %u, burst %u; expected 8 bytes, INCR", name, size, burst);
            if (addr % kBeat) fail("%s: address 0x%08x is not a multiple of 8", name, addr);
            if (addr >> 12 != end >> 12)
                fail("%s: the burst of %u from 0x%08x crosses 4 KiB", name, len + 1, addr);
            if (windows_ && !inside(port == kWrite, addr, (len + 1) * kBeat))
                fail("%s: the burst of %u from 0x%08x is not inside a window", name, len + 1,
                     addr);
        }
        if (valid && !ready && cycle < closed_until_[port] && !was.held) {
            was.held = true;
            ++suffered.holds;
        }
        was = {valid && !ready, addr, len, valid && !ready && was.held};
    }

    // Whether bytes are in a segment that may be read, or written.
    bool inside(bool write, uint32_t addr, uint32_t bytes) const {
        for (unsigned s = 0; s < FALCONET_SEGMENTS; ++s) {
            const uint64_t begin = window_[2 * s], end = begin + window_[2 * s + 1];
            if (write && !(FALCONET_WRITABLE >> s & 1)) continue;
            if (addr >= begin && addr + uint64_t(bytes) <= end) return true;
        }
        return false;
    }

    Burst accept(int port, uint32_t addr, uint32_t len, uint32_t id, uint32_t latency) {
        uint8_t beats = uint8_t(len + 1);
        Burst b{cycle + latency, addr, beats, uint8_t(id), !reachable(addr, beats)};
        for (const Fault& f : faults_)
            if (int(f.port) == port && f.burst == bursts[port]) afflict(port, f, b);
        ++bursts[port];
        return b;
    }

    void afflict(int port, const Fault& f, Burst& b) {
        const uint8_t beat = uint8_t(f.beat < b.beats ? f.beat : b.beats - 1);
        if (f.kind == kAnswer) {
            b.answer = uint8_t(f.value);
            b.answer_beat = beat;
        } else if (f.kind == kHoldAddress) {
            closed_until_[port] = cycle + f.value;
        } else if (f.kind == kHoldData) {
            b.hold = f.value;
            b.hold_beat = beat;
        } else {
            b.hold_answer = f.value;
        }
    }

    // Whether the next beat of a burst must wait; a planned hold begins when it is the beat's turn.
    bool waits(Burst& b, unsigned beat) {
        if (b.hold && beat == b.hold_beat && b.ready <= cycle) {
            b.ready = cycle + b.hold;
            b.hold = 0;
            ++suffered.holds;
        }
        return b.ready > cycle;
    }

    template <class ARREADY, class RDATA, class RRESP, class RLAST, class RID, class RVALID>
    void drive_read(int p, ARREADY& arready, RDATA& rdata, RRESP& rresp, RLAST& rlast, RID& rid,
                    RVALID& rvalid) {
        arready = reads_[p].size() < config_.outstanding && cycle >= closed_until_[p];
        rvalid = !data_[p].empty();
        if (rvalid) {
            const ReadBeat& b = data_[p].front();
            rdata = b.data;
            rresp = b.resp;
            rlast = b.last;
            rid = b.id;
        }
    }

    void drive() {
        drive_read(0, READ(m0, arready), READ(m0, rdata), READ(m0, rresp), READ(m0, rlast),
                   READ(m0, rid), READ(m0, rvalid));
        drive_read(1, READ(m1, arready), READ(m1, rdata), READ(m1, rresp), READ(m1, rlast),
                   READ(m1, rid), READ(m1, rvalid));
        WRITE(awready) = awaiting_.size() < config_.outstanding && cycle >= closed_until_[kWrite];
        WRITE(wready) = write_may_move_;
        WRITE(bvalid) = !responses_.empty() && responses_.front().ready <= cycle;
        if (!responses_.empty()) {
            WRITE(bresp) = responses_.front().resp;
            WRITE(bid) = responses_.front().id;
        }
    }

    bool wants(int p) {
        if (p == kWrite) return !awaiting_.empty() && !waits(awaiting_.front(), write_beat_);
        return !reads_[p].empty() && data_[p].size() < config_.queue_beats &&
               !waits(reads_[p].front(), beat_[p]);
    }

    // One beat of the oldest burst of a read port comes out of DDR.
    void fetch(int p) {
        const Burst& b = reads_[p].front();
        ReadBeat beat{0, uint8_t(b.bad ? kDecErr : kOkay), b.id, beat_[p] + 1u == b.beats,
                      b.addr};
        if (!b.bad) memcpy(&beat.data, memory_ + (b.addr - base_) + kBeat * beat_[p], kBeat);
        if (b.answer && beat_[p] == b.answer_beat) {
            beat.resp = b.answer;
            beat.data ^= 0x0123456789abcdef;  // what comes with an error is worth nothing
        }
        data_[p].push_back(beat);
        ++beat_[p];
        if (beat.last) {
            beat_[p] = 0;
            reads_[p].pop_front();
        }
    }

    // Share out the budget. Who goes empty is first in the next cycle. A write's beat is paid a
    // cycle ahead, and paid back if the machine has none.
    void arbitrate() {
        write_may_move_ = false;
        if (config_.refresh_cycles &&
            (cycle - power_up_) % config_.refresh_interval < config_.refresh_cycles)
            return;
        budget_ += config_.bytes_per_cycle;
        if (budget_ > config_.bucket_bytes) budget_ = config_.bucket_bytes;
        const int first = turn_;
        for (int i = 0; i <= kReaders; ++i) {
            const int p = (first + i) % (kReaders + 1);
            if (!wants(p)) continue;
            if (budget_ < kBeat) {
                turn_ = p;
                return;
            }
            budget_ -= kBeat;
            if (p == kWrite)
                write_may_move_ = true;
            else
                fetch(p);
        }
    }

    void write_beat() {
        ++beats[2];
        active = cycle;
        Burst& b = awaiting_.front();
        bool last = write_beat_ + 1u == b.beats;
        if (bool(WRITE(wlast)) != last)
            fail("m0 write: WLAST is %d at beat %u of %u from 0x%08x", int(WRITE(wlast)),
                 write_beat_ + 1, unsigned(b.beats), b.addr);
        if (WRITE(wid) != b.id)
            fail("m0 write: WID is %u, AWID was %u", unsigned(WRITE(wid)),
                 unsigned(b.id));
        const uint32_t at = b.addr + kBeat * write_beat_;
        if (windows_ && WRITE(wstrb) && !inside(true, at, kBeat))
            fail("m0 write: the beat at 0x%08x is no longer inside a window", at);
        if (!b.bad && !b.answer) {
            uint8_t* to = memory_ + (b.addr - base_) + kBeat * write_beat_;
            uint64_t value = WRITE(wdata);
            for (unsigned i = 0; i < kBeat; ++i)
                if (WRITE(wstrb) >> i & 1) to[i] = uint8_t(value >> 8 * i);
        }
        ++write_beat_;
        if (last) {
            responses_.push_back({cycle + config_.write_latency + b.hold_answer,
                                  b.bad ? uint8_t(kDecErr) : b.answer, b.id, b.addr});
            suffered.holds += b.hold_answer != 0;
            awaiting_.pop_front();
            write_beat_ = 0;
        }
    }

    template <class T>
    void log_write(uint8_t writer, uint8_t dst, uint16_t addr, const T& data) {
        WriteRecord r{cycle, addr, writer, dst, {}};
        static_assert(sizeof data >= sizeof r.data, "narrow data");
        memcpy(r.data, &data, sizeof r.data);
        writes.push_back(r);
    }

    void watch() {
#if FALCONET_TRACE
        if (log_writes) {
            if (TRACE(load_valid))
                log_write(0, TRACE(load_dst), TRACE(load_addr), TRACE(load_data));
            if (TRACE(mac_valid))
                log_write(1, 0, TRACE(mac_addr), TRACE(mac_data));
            if (TRACE(vec_valid))
                log_write(2, 0, TRACE(vec_addr), TRACE(vec_data));
        }
        if (TRACE(start) | TRACE(retire)) {
            active = cycle;
            for (uint8_t e = 0; log_events && e < FALCONET_ENGINES; ++e) {
                if (TRACE(start) >> e & 1) events.push_back({cycle, e, 0});
                if (TRACE(retire) >> e & 1) events.push_back({cycle, e, 1});
            }
        }
#endif
    }

    void sample() {
        check(0, "m0 read", READ(m0, arvalid), READ(m0, arready), READ(m0, araddr),
              READ(m0, arlen), READ(m0, arsize), READ(m0, arburst));
        check(1, "m1 read", READ(m1, arvalid), READ(m1, arready), READ(m1, araddr),
              READ(m1, arlen), READ(m1, arsize), READ(m1, arburst));
        check(2, "m0 write", WRITE(awvalid), WRITE(awready), WRITE(awaddr),
              WRITE(awlen), WRITE(awsize), WRITE(awburst));
        const uint32_t latency = config_.first_beat_latency;
        if (READ(m0, rvalid) && READ(m0, rready)) took_read(0);
        if (READ(m1, rvalid) && READ(m1, rready)) took_read(1);
        if (WRITE(wvalid) && WRITE(wready))
            write_beat();
        else if (write_may_move_)
            budget_ += kBeat;
        if (WRITE(bvalid) && WRITE(bready)) {
            suffer(responses_.front());
            responses_.pop_front();
        }
        if (READ(m0, arvalid) && READ(m0, arready))
            reads_[0].push_back(accept(0, READ(m0, araddr), READ(m0, arlen), READ(m0, arid),
                                       latency));
        if (READ(m1, arvalid) && READ(m1, arready))
            reads_[1].push_back(accept(1, READ(m1, araddr), READ(m1, arlen), READ(m1, arid),
                                       latency));
        if (WRITE(awvalid) && WRITE(awready))
            awaiting_.push_back(accept(kWrite, WRITE(awaddr), WRITE(awlen), WRITE(awid), 0));
    }

    template <class Answer>
    void suffer(const Answer& a) {
        if (a.resp < 2) return;
        ++suffered.errors;
        if (suffered.cycle) return;
        suffered.cycle = cycle;
        suffered.addr = a.addr;
    }

    void took_read(int p) {
        suffer(data_[p].front());
        data_[p].pop_front();
        ++beats[p];
        active = cycle;
    }

    void picture(unsigned half) {
#if VM_TRACE
        if (!vcd_ || cycle < draw_begin_) return;
        if (cycle < draw_end_) vcd_->dump(2 * cycle + half);
        if (cycle == draw_end_) vcd_->flush();
#endif
    }

    void step() {
        drive();
        settle();
        picture(0);
        if (!top_->rst) {
            sample();
            watch();
        }
        top_->clk = 1;
        top_->eval();
        picture(1);
        ++cycle;
        arbitrate();
    }
};

}  // namespace

extern "C" {

Sim* falconet_new(const DdrConfig* config, uint8_t* memory, uint64_t base, uint64_t size,
                  int windows) {
    return new Sim(*config, memory, base, size, windows);
}
void falconet_delete(Sim* s) { delete s; }
int falconet_write(Sim* s, uint32_t offset, uint32_t value) {
    return s->write_register(offset, value);
}
int falconet_read(Sim* s, uint32_t offset, uint32_t* value) {
    return s->read_register(offset, value);
}
int falconet_run(Sim* s, uint64_t cycles) { return s->run(cycles); }
const char* falconet_error(Sim* s) { return s->error(); }
uint64_t falconet_cycle(Sim* s) { return s->cycle; }
uint64_t falconet_active(Sim* s) { return s->active; }
void falconet_beats(Sim* s, uint64_t* out) { memcpy(out, s->beats, sizeof s->beats); }
void falconet_bursts(Sim* s, uint64_t* out) { memcpy(out, s->bursts, sizeof s->bursts); }
void falconet_plan(Sim* s, const Fault* fault) { s->plan(*fault); }
void falconet_relent(Sim* s) { s->relent(); }
void falconet_suffered(Sim* s, uint64_t* out) { memcpy(out, &s->suffered, sizeof s->suffered); }
void falconet_log(Sim* s, int writes, int events) {
    s->log_writes = writes;
    s->log_events = events;
    s->writes.clear();
    s->events.clear();
}
uint64_t falconet_writes(Sim* s, const void** out) {
    *out = s->writes.data();
    return s->writes.size();
}
uint64_t falconet_events(Sim* s, const void** out) {
    *out = s->events.data();
    return s->events.size();
}
#if FALCONET_MUTANTS
void falconet_mutant(int number) { mutant = number; }
#endif
#if VM_COVERAGE
void falconet_coverage(Sim* s, const char* file) { s->save_coverage(file); }
#endif
#if VM_TRACE
void falconet_draw(Sim* s, const char* file, uint64_t begin, uint64_t end) {
    s->draw(file, begin, end);
}
#endif
}
