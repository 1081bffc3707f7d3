// A traffic generator with the ports of the machine: tests of the simulated board run on it.
//
// Registers: 0x00 control (1: start), 0x04 base address, 0x08/0x0c/0x10 bursts to read on m0, read
// on m1, write on m0; 0x14 beats per burst less 1; 0x18 faults, a bit each: 0 AWSIZE is 4 bytes,
// 1 WLAST comes never, 2 ARADDR changes while it waits, 3 the registers do not answer, 4 WID is
// wrong, 5 the machine never ends; 0x1c read: XOR of the data, 0x20 OR of all responses.
// Consecutive bursts lie back to back; a written beat is its address twice.
module traffic (
    input clk, rst,
    input [7:0] axil__awaddr, input [2:0] axil__awprot, input axil__awvalid,
    output axil__awready, input [31:0] axil__wdata, input [3:0] axil__wstrb, input axil__wvalid,
    output axil__wready, output [1:0] axil__bresp, output reg axil__bvalid, input axil__bready,
    input [7:0] axil__araddr, input [2:0] axil__arprot, input axil__arvalid,
    output axil__arready, output reg [31:0] axil__rdata, output [1:0] axil__rresp,
    output reg axil__rvalid, input axil__rready,
    output [31:0] m0__read__araddr, output [3:0] m0__read__arlen, output [2:0] m0__read__arsize,
    output [1:0] m0__read__arburst, output [3:0] m0__read__arcache,
    output [2:0] m0__read__arprot, output [5:0] m0__read__arid, output m0__read__arvalid,
    input m0__read__arready, input [63:0] m0__read__rdata, input [1:0] m0__read__rresp,
    input m0__read__rlast, input [5:0] m0__read__rid, input m0__read__rvalid,
    output m0__read__rready,
    output [31:0] m1__read__araddr, output [3:0] m1__read__arlen, output [2:0] m1__read__arsize,
    output [1:0] m1__read__arburst, output [3:0] m1__read__arcache,
    output [2:0] m1__read__arprot, output [5:0] m1__read__arid, output m1__read__arvalid,
    input m1__read__arready, input [63:0] m1__read__rdata, input [1:0] m1__read__rresp,
    input m1__read__rlast, input [5:0] m1__read__rid, input m1__read__rvalid,
    output m1__read__rready,
    output [31:0] m0__write__awaddr, output [3:0] m0__write__awlen,
    output [2:0] m0__write__awsize, output [1:0] m0__write__awburst,
    output [3:0] m0__write__awcache, output [2:0] m0__write__awprot, output [5:0] m0__write__awid,
    output m0__write__awvalid, input m0__write__awready,
    output [63:0] m0__write__wdata, output [7:0] m0__write__wstrb, output m0__write__wlast,
    output [5:0] m0__write__wid, output m0__write__wvalid, input m0__write__wready,
    input [1:0] m0__write__bresp, input [5:0] m0__write__bid, input m0__write__bvalid,
    output m0__write__bready,
    output reg irq
);
    reg [31:0] base, count0, count1, count2, len, faults, sum, responses;
    reg [31:0] asked0, asked1, asked2, wbeat, left0, left1, left2, toggle;
    reg running;
    wire [31:0] size = (len + 1) << 3;

    assign axil__awready = axil__wvalid && !faults[3] && !axil__bvalid;
    assign axil__wready = axil__awvalid && !faults[3] && !axil__bvalid;
    assign axil__bresp = 0;
    assign axil__arready = !axil__rvalid && !faults[3];
    assign axil__rresp = 0;

    assign m0__read__araddr = base + asked0 * size + (faults[2] ? toggle : 0);
    assign m1__read__araddr = base + asked1 * size;
    assign m0__write__awaddr = base + asked2 * size;
    assign m0__read__arvalid = running && asked0 != count0;
    assign m1__read__arvalid = running && asked1 != count1;
    assign m0__write__awvalid = running && asked2 != count2;
    assign {m0__read__arlen, m1__read__arlen, m0__write__awlen} = {3{len[3:0]}};
    assign {m0__read__arsize, m1__read__arsize} = {2{3'd3}};
    assign m0__write__awsize = faults[0] ? 2 : 3;
    assign {m0__read__arburst, m1__read__arburst, m0__write__awburst} = {3{2'd1}};
    assign {m0__read__arcache, m1__read__arcache, m0__write__awcache} = 0;
    assign {m0__read__arprot, m1__read__arprot, m0__write__awprot} = 0;
    assign {m0__read__arid, m1__read__arid, m0__write__awid} = 0;
    assign m0__read__rready = 1;
    assign m1__read__rready = 1;
    assign m0__write__bready = 1;
    assign m0__write__wvalid = running && wbeat != count2 * (len + 1);
    assign m0__write__wdata = {2{base + (wbeat << 3)}};
    assign m0__write__wstrb = 8'hff;
    assign m0__write__wlast = !faults[1] && (wbeat + 1) % (len + 1) == 0;
    assign m0__write__wid = faults[4];

    always @(posedge clk) begin
        toggle <= 8 - toggle;
        if (axil__bready) axil__bvalid <= 0;
        if (axil__rready) axil__rvalid <= 0;
        if (axil__awvalid && axil__awready) begin
            axil__bvalid <= 1;
            case (axil__awaddr)
                8'h00: begin
                    {running, irq} <= {axil__wdata[0], 1'b0};
                    {asked0, asked1, asked2, wbeat, sum, responses} <= 0;
                    {left0, left1, left2} <= {count0, count1, count2};
                end
                8'h04: base <= axil__wdata;
                8'h08: count0 <= axil__wdata;
                8'h0c: count1 <= axil__wdata;
                8'h10: count2 <= axil__wdata;
                8'h14: len <= axil__wdata;
                8'h18: faults <= axil__wdata;
                default: ;
            endcase
        end
        if (axil__arvalid && axil__arready) begin
            axil__rvalid <= 1;
            axil__rdata <= axil__araddr == 8'h1c ? sum : responses;
        end
        if (running) begin
            asked0 <= asked0 + (m0__read__arvalid && m0__read__arready);
            asked1 <= asked1 + (m1__read__arvalid && m1__read__arready);
            asked2 <= asked2 + (m0__write__awvalid && m0__write__awready);
            wbeat <= wbeat + (m0__write__wvalid && m0__write__wready);
            left0 <= left0 - (m0__read__rvalid && m0__read__rlast);
            left1 <= left1 - (m1__read__rvalid && m1__read__rlast);
            left2 <= left2 - m0__write__bvalid;
            sum <= sum ^ (m0__read__rvalid ? m0__read__rdata[31:0] ^ m0__read__rdata[63:32] : 0)
                       ^ (m1__read__rvalid ? m1__read__rdata[31:0] ^ m1__read__rdata[63:32] : 0);
            responses <= responses | (m0__read__rvalid ? m0__read__rresp : 0)
                | (m1__read__rvalid ? m1__read__rresp : 0)
                | (m0__write__bvalid ? m0__write__bresp : 0);
            if (left0 == 0 && left1 == 0 && left2 == 0 && !faults[5]) {running, irq} <= 2'b01;
        end
        if (rst) begin
            {running, irq, axil__bvalid, axil__rvalid} <= 0;
            {base, count0, count1, count2, len, faults, toggle} <= 0;
        end
    end
endmodule
