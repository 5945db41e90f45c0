// Room: core. Chooses the kernel table once. Built without instruction-set flags, so that the
// probe itself runs on every machine.
#include <cstdlib>
#include <cstring>
#include <string>

#include "freehold/kernels.h"
#include "freehold/types.h"

namespace freehold {
namespace {

bool supported(const KernelTable* table) {
#if defined(FREEHOLD_X86)
    __builtin_cpu_init();
    if (table == &kAvx512Table)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
    if (table == &kAvx2Table)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
#endif
    return table == &kGenericTable;
}

const KernelTable* kTables[] = {  // best first
#if defined(FREEHOLD_X86)
    &kAvx512Table, &kAvx2Table,
#endif
    &kGenericTable};

const KernelTable* find(const char* name) {
    for (const auto* table : kTables)
        if (std::strcmp(table->name, name) == 0 && supported(table)) return table;
    return nullptr;
}

const KernelTable* choose() {
    if (const char* forced = std::getenv("FREEHOLD_ISA"); forced != nullptr && *forced != 0) {
        const auto* table = find(forced);
        if (table == nullptr)
            throw ContractError("isa: FREEHOLD_ISA=" + std::string(forced) +
                                " is unknown or not supported by this machine");
        return table;
    }
    for (const auto* table : kTables)
        if (supported(table)) return table;
    return &kGenericTable;
}

const KernelTable*& active() {
    static const KernelTable* table = choose();
    return table;
}

}  // namespace

const KernelTable& kernels() { return *active(); }
const char* active_isa() { return active()->name; }
bool isa_available(const char* name) { return find(name) != nullptr; }

void force_isa(const char* name) {
    const auto* table = find(name);
    if (table == nullptr)
        throw ContractError("isa: " + std::string(name) +
                            " is unknown or not supported by this machine");
    active() = table;
}

TileFn KernelTable::tile_for(int type) const {
    for (int i = 0; i < kTileTypes; ++i)
        if (types[i] == type) return tiles[i];
    return nullptr;
}

}  // namespace freehold
