// A simulated processing system of a Zynq UltraScale+ for the design of a board, and two ways to drive
// it: as zynq7.sv has them for the Zynq-7000. Its ports are set up as the board's are: HPM0_FPD with
// 32 of its 128 bits, the HP ports with 64. Bits that are not used read as unknown.

`timescale 1ns / 1ps

module BUFG_PS (input I, output O);
  assign O = I;
endmodule

module PS8 (
    input MAXIGP0ACLK,
    output [39:0] MAXIGP0ARADDR,
    output [1:0] MAXIGP0ARBURST,
    output [15:0] MAXIGP0ARID,
    output [7:0] MAXIGP0ARLEN,
    input MAXIGP0ARREADY,
    output [2:0] MAXIGP0ARSIZE,
    output MAXIGP0ARVALID,
    output [39:0] MAXIGP0AWADDR,
    output [1:0] MAXIGP0AWBURST,
    output [15:0] MAXIGP0AWID,
    output [7:0] MAXIGP0AWLEN,
    input MAXIGP0AWREADY,
    output [2:0] MAXIGP0AWSIZE,
    output MAXIGP0AWVALID,
    input [15:0] MAXIGP0BID,
    output MAXIGP0BREADY,
    input [1:0] MAXIGP0BRESP,
    input MAXIGP0BVALID,
    input [127:0] MAXIGP0RDATA,
    input [15:0] MAXIGP0RID,
    input MAXIGP0RLAST,
    output MAXIGP0RREADY,
    input [1:0] MAXIGP0RRESP,
    input MAXIGP0RVALID,
    output [127:0] MAXIGP0WDATA,
    output MAXIGP0WLAST,
    input MAXIGP0WREADY,
    output [15:0] MAXIGP0WSTRB,
    output MAXIGP0WVALID,
    output [3:0] PLCLK,
    input [7:0] PLPSIRQ0,
    input [48:0] SAXIGP2ARADDR,
    input [1:0] SAXIGP2ARBURST,
    input [3:0] SAXIGP2ARCACHE,
    input [5:0] SAXIGP2ARID,
    input [7:0] SAXIGP2ARLEN,
    input SAXIGP2ARLOCK,
    input [2:0] SAXIGP2ARPROT,
    input [3:0] SAXIGP2ARQOS,
    output SAXIGP2ARREADY,
    input [2:0] SAXIGP2ARSIZE,
    input SAXIGP2ARUSER,
    input SAXIGP2ARVALID,
    input [48:0] SAXIGP2AWADDR,
    input [1:0] SAXIGP2AWBURST,
    input [3:0] SAXIGP2AWCACHE,
    input [5:0] SAXIGP2AWID,
    input [7:0] SAXIGP2AWLEN,
    input SAXIGP2AWLOCK,
    input [2:0] SAXIGP2AWPROT,
    input [3:0] SAXIGP2AWQOS,
    output SAXIGP2AWREADY,
    input [2:0] SAXIGP2AWSIZE,
    input SAXIGP2AWUSER,
    input SAXIGP2AWVALID,
    output [5:0] SAXIGP2BID,
    input SAXIGP2BREADY,
    output [1:0] SAXIGP2BRESP,
    output SAXIGP2BVALID,
    input SAXIGP2RCLK,
    output [127:0] SAXIGP2RDATA,
    output [5:0] SAXIGP2RID,
    output SAXIGP2RLAST,
    input SAXIGP2RREADY,
    output [1:0] SAXIGP2RRESP,
    output SAXIGP2RVALID,
    input SAXIGP2WCLK,
    input [127:0] SAXIGP2WDATA,
    input SAXIGP2WLAST,
    output SAXIGP2WREADY,
    input [15:0] SAXIGP2WSTRB,
    input SAXIGP2WVALID,
    input [48:0] SAXIGP3ARADDR,
    input [1:0] SAXIGP3ARBURST,
    input [3:0] SAXIGP3ARCACHE,
    input [5:0] SAXIGP3ARID,
    input [7:0] SAXIGP3ARLEN,
    input SAXIGP3ARLOCK,
    input [2:0] SAXIGP3ARPROT,
    input [3:0] SAXIGP3ARQOS,
    output SAXIGP3ARREADY,
    input [2:0] SAXIGP3ARSIZE,
    input SAXIGP3ARUSER,
    input SAXIGP3ARVALID,
    input [48:0] SAXIGP3AWADDR,
    input [1:0] SAXIGP3AWBURST,
    input [3:0] SAXIGP3AWCACHE,
    input [5:0] SAXIGP3AWID,
    input [7:0] SAXIGP3AWLEN,
    input SAXIGP3AWLOCK,
    input [2:0] SAXIGP3AWPROT,
    input [3:0] SAXIGP3AWQOS,
    output SAXIGP3AWREADY,
    input [2:0] SAXIGP3AWSIZE,
    input SAXIGP3AWUSER,
    input SAXIGP3AWVALID,
    output [5:0] SAXIGP3BID,
    input SAXIGP3BREADY,
    output [1:0] SAXIGP3BRESP,
    output SAXIGP3BVALID,
    input SAXIGP3RCLK,
    output [127:0] SAXIGP3RDATA,
    output [5:0] SAXIGP3RID,
    output SAXIGP3RLAST,
    input SAXIGP3RREADY,
    output [1:0] SAXIGP3RRESP,
    output SAXIGP3RVALID,
    input SAXIGP3WCLK,
    input [127:0] SAXIGP3WDATA,
    input SAXIGP3WLAST,
    output SAXIGP3WREADY,
    input [15:0] SAXIGP3WSTRB,
    input SAXIGP3WVALID);
  assign PLCLK = {3'b0, zynqmp_ports.clk};
  assign MAXIGP0ARADDR = {8'd0, zynqmp_ports.gp0__araddr};
  assign MAXIGP0ARBURST = zynqmp_ports.gp0__arburst;
  assign MAXIGP0ARID = zynqmp_ports.gp0__arid;
  assign MAXIGP0ARLEN = zynqmp_ports.gp0__arlen;
  assign MAXIGP0ARSIZE = zynqmp_ports.gp0__arsize;
  assign MAXIGP0ARVALID = zynqmp_ports.gp0__arvalid;
  assign MAXIGP0AWADDR = {8'd0, zynqmp_ports.gp0__awaddr};
  assign MAXIGP0AWBURST = zynqmp_ports.gp0__awburst;
  assign MAXIGP0AWID = zynqmp_ports.gp0__awid;
  assign MAXIGP0AWLEN = zynqmp_ports.gp0__awlen;
  assign MAXIGP0AWSIZE = zynqmp_ports.gp0__awsize;
  assign MAXIGP0AWVALID = zynqmp_ports.gp0__awvalid;
  assign MAXIGP0BREADY = zynqmp_ports.gp0__bready;
  assign MAXIGP0RREADY = zynqmp_ports.gp0__rready;
  assign MAXIGP0WDATA = {96'hx, zynqmp_ports.gp0__wdata};
  assign MAXIGP0WLAST = zynqmp_ports.gp0__wlast;
  assign MAXIGP0WSTRB = {12'hx, zynqmp_ports.gp0__wstrb};
  assign MAXIGP0WVALID = zynqmp_ports.gp0__wvalid;
  assign SAXIGP2ARREADY = zynqmp_ports.m0__read__arready;
  assign SAXIGP2AWREADY = zynqmp_ports.m0__write__awready;
  assign SAXIGP2BID = zynqmp_ports.m0__write__bid;
  assign SAXIGP2BRESP = zynqmp_ports.m0__write__bresp;
  assign SAXIGP2BVALID = zynqmp_ports.m0__write__bvalid;
  assign SAXIGP2RDATA = {64'hx, zynqmp_ports.m0__read__rdata};
  assign SAXIGP2RID = zynqmp_ports.m0__read__rid;
  assign SAXIGP2RLAST = zynqmp_ports.m0__read__rlast;
  assign SAXIGP2RRESP = zynqmp_ports.m0__read__rresp;
  assign SAXIGP2RVALID = zynqmp_ports.m0__read__rvalid;
  assign SAXIGP2WREADY = zynqmp_ports.m0__write__wready;
  assign SAXIGP3ARREADY = zynqmp_ports.m1__read__arready;
  assign SAXIGP3AWREADY = '0;
  assign SAXIGP3BID = '0;
  assign SAXIGP3BRESP = '0;
  assign SAXIGP3BVALID = '0;
  assign SAXIGP3RDATA = {64'hx, zynqmp_ports.m1__read__rdata};
  assign SAXIGP3RID = zynqmp_ports.m1__read__rid;
  assign SAXIGP3RLAST = zynqmp_ports.m1__read__rlast;
  assign SAXIGP3RRESP = zynqmp_ports.m1__read__rresp;
  assign SAXIGP3RVALID = zynqmp_ports.m1__read__rvalid;
  assign SAXIGP3WREADY = '0;
endmodule

module zynqmp_ports (
    input clk,
    input rst,
    output irq,
    input [31:0] gp0__araddr,
    input [1:0] gp0__arburst,
    input [15:0] gp0__arid,
    input [7:0] gp0__arlen,
    output gp0__arready,
    input [2:0] gp0__arsize,
    input gp0__arvalid,
    input [31:0] gp0__awaddr,
    input [1:0] gp0__awburst,
    input [15:0] gp0__awid,
    input [7:0] gp0__awlen,
    output gp0__awready,
    input [2:0] gp0__awsize,
    input gp0__awvalid,
    output [15:0] gp0__bid,
    input gp0__bready,
    output [1:0] gp0__bresp,
    output gp0__bvalid,
    output [31:0] gp0__rdata,
    output [15:0] gp0__rid,
    output gp0__rlast,
    input gp0__rready,
    output [1:0] gp0__rresp,
    output gp0__rvalid,
    input [31:0] gp0__wdata,
    input gp0__wlast,
    output gp0__wready,
    input [3:0] gp0__wstrb,
    input gp0__wvalid,
    output [31:0] m0__read__araddr,
    output [1:0] m0__read__arburst,
    output [3:0] m0__read__arcache,
    output [5:0] m0__read__arid,
    output [7:0] m0__read__arlen,
    output [2:0] m0__read__arprot,
    input m0__read__arready,
    output [2:0] m0__read__arsize,
    output m0__read__arvalid,
    output [31:0] m0__write__awaddr,
    output [1:0] m0__write__awburst,
    output [3:0] m0__write__awcache,
    output [5:0] m0__write__awid,
    output [7:0] m0__write__awlen,
    output [2:0] m0__write__awprot,
    input m0__write__awready,
    output [2:0] m0__write__awsize,
    output m0__write__awvalid,
    input [5:0] m0__write__bid,
    output m0__write__bready,
    input [1:0] m0__write__bresp,
    input m0__write__bvalid,
    input [63:0] m0__read__rdata,
    input [5:0] m0__read__rid,
    input m0__read__rlast,
    output m0__read__rready,
    input [1:0] m0__read__rresp,
    input m0__read__rvalid,
    output [63:0] m0__write__wdata,
    output m0__write__wlast,
    input m0__write__wready,
    output [7:0] m0__write__wstrb,
    output m0__write__wvalid,
    output [31:0] m1__read__araddr,
    output [1:0] m1__read__arburst,
    output [3:0] m1__read__arcache,
    output [5:0] m1__read__arid,
    output [7:0] m1__read__arlen,
    output [2:0] m1__read__arprot,
    input m1__read__arready,
    output [2:0] m1__read__arsize,
    output m1__read__arvalid,
    input [63:0] m1__read__rdata,
    input [5:0] m1__read__rid,
    input m1__read__rlast,
    output m1__read__rready,
    input [1:0] m1__read__rresp,
    input m1__read__rvalid,
    output [5:0] m0__write__wid);
  falconet_top dut ();
  assign irq = dut.ps8.PLPSIRQ0[0];
  // AXI4 has no ID of write data: it belongs to the oldest address.
  assign m0__write__wid = dut.ps8.SAXIGP2AWID;
  assign gp0__arready = dut.ps8.MAXIGP0ARREADY;
  assign gp0__awready = dut.ps8.MAXIGP0AWREADY;
  assign gp0__bid = dut.ps8.MAXIGP0BID;
  assign gp0__bresp = dut.ps8.MAXIGP0BRESP;
  assign gp0__bvalid = dut.ps8.MAXIGP0BVALID;
  assign gp0__rdata = dut.ps8.MAXIGP0RDATA[31:0];
  assign gp0__rid = dut.ps8.MAXIGP0RID;
  assign gp0__rlast = dut.ps8.MAXIGP0RLAST;
  assign gp0__rresp = dut.ps8.MAXIGP0RRESP;
  assign gp0__rvalid = dut.ps8.MAXIGP0RVALID;
  assign gp0__wready = dut.ps8.MAXIGP0WREADY;
  assign m0__read__araddr = dut.ps8.SAXIGP2ARADDR[31:0];
  assign m0__read__arburst = dut.ps8.SAXIGP2ARBURST;
  assign m0__read__arcache = dut.ps8.SAXIGP2ARCACHE;
  assign m0__read__arid = dut.ps8.SAXIGP2ARID;
  assign m0__read__arlen = dut.ps8.SAXIGP2ARLEN;
  assign m0__read__arprot = dut.ps8.SAXIGP2ARPROT;
  assign m0__read__arsize = dut.ps8.SAXIGP2ARSIZE;
  assign m0__read__arvalid = dut.ps8.SAXIGP2ARVALID;
  assign m0__write__awaddr = dut.ps8.SAXIGP2AWADDR[31:0];
  assign m0__write__awburst = dut.ps8.SAXIGP2AWBURST;
  assign m0__write__awcache = dut.ps8.SAXIGP2AWCACHE;
  assign m0__write__awid = dut.ps8.SAXIGP2AWID;
  assign m0__write__awlen = dut.ps8.SAXIGP2AWLEN;
  assign m0__write__awprot = dut.ps8.SAXIGP2AWPROT;
  assign m0__write__awsize = dut.ps8.SAXIGP2AWSIZE;
  assign m0__write__awvalid = dut.ps8.SAXIGP2AWVALID;
  assign m0__write__bready = dut.ps8.SAXIGP2BREADY;
  assign m0__read__rready = dut.ps8.SAXIGP2RREADY;
  assign m0__write__wdata = dut.ps8.SAXIGP2WDATA[63:0];
  assign m0__write__wlast = dut.ps8.SAXIGP2WLAST;
  assign m0__write__wstrb = dut.ps8.SAXIGP2WSTRB[7:0];
  assign m0__write__wvalid = dut.ps8.SAXIGP2WVALID;
  assign m1__read__araddr = dut.ps8.SAXIGP3ARADDR[31:0];
  assign m1__read__arburst = dut.ps8.SAXIGP3ARBURST;
  assign m1__read__arcache = dut.ps8.SAXIGP3ARCACHE;
  assign m1__read__arid = dut.ps8.SAXIGP3ARID;
  assign m1__read__arlen = dut.ps8.SAXIGP3ARLEN;
  assign m1__read__arprot = dut.ps8.SAXIGP3ARPROT;
  assign m1__read__arsize = dut.ps8.SAXIGP3ARSIZE;
  assign m1__read__arvalid = dut.ps8.SAXIGP3ARVALID;
  assign m1__read__rready = dut.ps8.SAXIGP3RREADY;
endmodule

// The ports of the bare machine, as zynq7_board has them.
module zynqmp_board (
    input clk,
    input rst,
    output irq,
    input [7:0] axil__awaddr,
    input [2:0] axil__awprot,
    input axil__awvalid,
    output axil__awready,
    input [31:0] axil__wdata,
    input [3:0] axil__wstrb,
    input axil__wvalid,
    output axil__wready,
    output [1:0] axil__bresp,
    output axil__bvalid,
    input axil__bready,
    input [7:0] axil__araddr,
    input [2:0] axil__arprot,
    input axil__arvalid,
    output axil__arready,
    output [31:0] axil__rdata,
    output [1:0] axil__rresp,
    output axil__rvalid,
    input axil__rready,
    output [31:0] m0__read__araddr,
    output [1:0] m0__read__arburst,
    output [3:0] m0__read__arcache,
    output [5:0] m0__read__arid,
    output [7:0] m0__read__arlen,
    output [2:0] m0__read__arprot,
    input m0__read__arready,
    output [2:0] m0__read__arsize,
    output m0__read__arvalid,
    output [31:0] m0__write__awaddr,
    output [1:0] m0__write__awburst,
    output [3:0] m0__write__awcache,
    output [5:0] m0__write__awid,
    output [7:0] m0__write__awlen,
    output [2:0] m0__write__awprot,
    input m0__write__awready,
    output [2:0] m0__write__awsize,
    output m0__write__awvalid,
    input [5:0] m0__write__bid,
    output m0__write__bready,
    input [1:0] m0__write__bresp,
    input m0__write__bvalid,
    input [63:0] m0__read__rdata,
    input [5:0] m0__read__rid,
    input m0__read__rlast,
    output m0__read__rready,
    input [1:0] m0__read__rresp,
    input m0__read__rvalid,
    output [63:0] m0__write__wdata,
    output m0__write__wlast,
    input m0__write__wready,
    output [7:0] m0__write__wstrb,
    output m0__write__wvalid,
    output [31:0] m1__read__araddr,
    output [1:0] m1__read__arburst,
    output [3:0] m1__read__arcache,
    output [5:0] m1__read__arid,
    output [7:0] m1__read__arlen,
    output [2:0] m1__read__arprot,
    input m1__read__arready,
    output [2:0] m1__read__arsize,
    output m1__read__arvalid,
    input [63:0] m1__read__rdata,
    input [5:0] m1__read__rid,
    input m1__read__rlast,
    output m1__read__rready,
    input [1:0] m1__read__rresp,
    input m1__read__rvalid,
    output [5:0] m0__write__wid);
  logic [15:0] id = 16'h95a3;
  wire [15:0] bid, rid;
  wire rlast, bvalid, rvalid;
  always @(posedge clk)
    if ((axil__bvalid && axil__bready) || (axil__rvalid && axil__rready)) id <= id * 5 + 7;
  assign axil__bvalid = bvalid && bid == id;
  assign axil__rvalid = rvalid && rid == id && rlast;

  zynqmp_ports ports (
      .gp0__awaddr({24'ha00000, axil__awaddr}), .gp0__awid(id), .gp0__awlen(8'd0),
      .gp0__awsize(3'd2), .gp0__awburst(2'd1), .gp0__awvalid(axil__awvalid),
      .gp0__awready(axil__awready),
      .gp0__wdata(axil__wdata), .gp0__wstrb(axil__wstrb), .gp0__wlast(1'b1),
      .gp0__wvalid(axil__wvalid), .gp0__wready(axil__wready),
      .gp0__bid(bid), .gp0__bresp(axil__bresp), .gp0__bvalid(bvalid), .gp0__bready(axil__bready),
      .gp0__araddr({24'ha00000, axil__araddr}), .gp0__arid(id), .gp0__arlen(8'd0),
      .gp0__arsize(3'd2), .gp0__arburst(2'd1), .gp0__arvalid(axil__arvalid),
      .gp0__arready(axil__arready),
      .gp0__rdata(axil__rdata), .gp0__rid(rid), .gp0__rresp(axil__rresp), .gp0__rlast(rlast),
      .gp0__rvalid(rvalid), .gp0__rready(axil__rready),
      .*);
endmodule
