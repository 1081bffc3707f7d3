// The harness of rtl.py, and the counts of Verilator's coverage.

#include "harness.cpp"
#include "verilated_cov.h"

extern "C" void falconet_coverage(const char* path) {
    Verilated::threadContextp()->coveragep()->write(path);
}
