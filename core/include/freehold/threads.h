// Room: core. The only thread pool. Work is handed out in items; who runs an item never
// changes what it computes.
#pragma once
#include <cstdint>

namespace freehold {

using ItemFn = void (*)(void* context, int64_t item, int thread);

int thread_count();
void set_thread_count(int count);  // throws ContractError outside 1..256
int usable_cores();
void run_items(int64_t items, ItemFn fn, void* context);

// Runs body(item, thread) for every item on the pool and returns when all are done.
template <class Body>
void parallel(int64_t items, Body&& body) {
    run_items(
        items,
        [](void* context, int64_t item, int thread) {
            (*static_cast<Body*>(context))(item, thread);
        },
        &body);
}

}  // namespace freehold
