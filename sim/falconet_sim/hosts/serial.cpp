// A Verilated board with a serial line, as a shared library for falconet_sim.hosts.serial.
//
// The other end of the line: 8N1, a bit of `divisor` cycles. Bytes to the board go out one behind
// the other; bytes from it are read in the middle of their bits. One call of Sim::step is one cycle.

#include <cstdint>
#include <deque>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

class Sim {
public:
    explicit Sim(unsigned divisor) : divisor_(divisor), context_(new VerilatedContext),
                                     top_(new Vtop(context_.get())) {
        top_->rx = 1;
        top_->button = 0;
    }
    ~Sim() { top_->final(); }

    void press(bool down) { top_->button = down; }

    std::deque<uint8_t> to_board, from_board;
    uint64_t cycle = 0;
    bool wrong = false;  // a byte came without its stop bit

    // Until `count` bytes are there, or for `idle` cycles neither side has sent.
    void run(size_t count, uint64_t idle) {
        for (uint64_t quiet = 0; quiet < idle && from_board.size() < count; ++quiet) {
            step();
            if (out_left_ || in_left_ || !to_board.empty()) quiet = 0;
        }
    }

private:
    unsigned divisor_;
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    unsigned out_ = 0, out_left_ = 0, out_timer_ = 0;
    unsigned in_ = 0, in_left_ = 0, in_timer_ = 0;

    void send() {
        if (out_timer_) {
            --out_timer_;
            return;
        }
        if (!out_left_ && !to_board.empty()) {
            out_ = unsigned(to_board.front()) << 1 | 0x200;
            out_left_ = 10;
            to_board.pop_front();
        }
        if (!out_left_) return;
        top_->rx = out_ & 1;
        out_ >>= 1;
        --out_left_;
        out_timer_ = divisor_ - 1;
    }

    void receive() {
        if (in_left_) {
            if (--in_timer_) return;
            in_timer_ = divisor_;
            in_ |= unsigned(top_->tx) << (10 - in_left_--);
            if (in_left_) return;
            wrong |= !(in_ & 0x200) || (in_ & 1);
            from_board.push_back(uint8_t(in_ >> 1));
        } else if (!top_->tx) {
            in_ = 0;
            in_left_ = 10;
            in_timer_ = divisor_ / 2;
        }
    }

    void step() {
        send();
        top_->clk25 = 0;
        top_->eval();
        receive();
        top_->clk25 = 1;
        top_->eval();
        ++cycle;
    }
};

}  // namespace

extern "C" {

Sim* falconet_uart_new(unsigned divisor) { return new Sim(divisor); }
void falconet_uart_delete(Sim* s) { delete s; }
uint64_t falconet_uart_cycle(Sim* s) { return s->cycle; }
void falconet_uart_press(Sim* s, int down) { s->press(down); }
int falconet_uart_wrong(Sim* s) { return s->wrong; }
void falconet_uart_write(Sim* s, const uint8_t* data, uint64_t count) {
    s->to_board.insert(s->to_board.end(), data, data + count);
}
uint64_t falconet_uart_read(Sim* s, uint8_t* data, uint64_t count, uint64_t idle) {
    s->run(count, idle);
    uint64_t n = 0;
    for (; n < count && !s->from_board.empty(); ++n) {
        data[n] = s->from_board.front();
        s->from_board.pop_front();
    }
    return n;
}
}
