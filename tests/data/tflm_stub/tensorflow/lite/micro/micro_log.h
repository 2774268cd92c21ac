// See micro_mutable_op_resolver.h.
#pragma once

void MicroPrintf(const char* format, ...);
