// Room: core. The only thread pool: workers spin briefly between the ops of a step, then sleep.
#include "freehold/threads.h"

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "freehold/types.h"

namespace freehold {
namespace {

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(150);  // longer than the gap between two ops

struct alignas(64) Range {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
};

class Pool {
  public:
    explicit Pool(int count) : count_(count), owner_(getpid()), ranges_(new Range[count]) {
        for (int i = 1; i < count; ++i) workers_.emplace_back([this, i] { work(i); });
    }
    ~Pool() {
        if (getpid() != owner_) {  // a forked child has no workers to join
            for (auto& worker : workers_) worker.detach();
            return;
        }
        stop_ = true;
        epoch_.fetch_add(1);
        epoch_.notify_all();
        for (auto& worker : workers_) worker.join();
    }
    int count() const { return count_; }
    bool usable() const { return getpid() == owner_; }

    void run(int64_t items, ItemFn fn, void* context) {
        fn_ = fn;
        context_ = context;
        for (int t = 0; t < count_; ++t) {
            ranges_[t].next.store(items * t / count_, std::memory_order_relaxed);
            ranges_[t].end = items * (t + 1) / count_;
        }
        open_.store(true, std::memory_order_seq_cst);
        epoch_.fetch_add(1, std::memory_order_seq_cst);
        if (asleep_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
        drain(0);
        // Every item is taken: wait for those that others took, not for threads that never
        // came. On a busy machine a worker without a core costs nothing.
        open_.store(false, std::memory_order_seq_cst);
        for (int spins = 0; active_.load(std::memory_order_seq_cst) != 0; ++spins) {
            relax();
            if (spins > 4096) sched_yield();  // a worker may have lost its core
        }
    }

  private:
    // A thread's own run of neighbouring items first, since memory streams best in order; then
    // what others have left.
    void drain(int thread) {
        for (int i = 0; i < count_; ++i) {
            Range& range = ranges_[(thread + i) % count_];
            for (;;) {
                const int64_t item = range.next.fetch_add(1, std::memory_order_relaxed);
                if (item >= range.end) break;
                fn_(context_, item, thread);
            }
        }
    }

    // Returns when the epoch has moved past `seen`, spinning first and sleeping after.
    void await(uint32_t seen) {
        const auto until = Clock::now() + kSpin;
        do {
            for (int i = 0; i < 64; ++i) {
                if (epoch_.load(std::memory_order_acquire) != seen) return;
                relax();
            }
        } while (Clock::now() < until);
        asleep_.fetch_add(1, std::memory_order_seq_cst);
        epoch_.wait(seen, std::memory_order_seq_cst);
        asleep_.fetch_sub(1, std::memory_order_relaxed);
    }

    void work(int thread) {
        uint32_t seen = 0;
        for (;;) {
            while (epoch_.load(std::memory_order_acquire) == seen) await(seen);
            seen = epoch_.load(std::memory_order_acquire);
            if (stop_) return;
            active_.fetch_add(1, std::memory_order_seq_cst);  // before looking: run() then waits
            if (open_.load(std::memory_order_seq_cst)) drain(thread);
            active_.fetch_sub(1, std::memory_order_seq_cst);
        }
    }

    const int count_;
    const pid_t owner_;
    ItemFn fn_ = nullptr;
    void* context_ = nullptr;
    std::atomic<bool> stop_{false};
    std::unique_ptr<Range[]> ranges_;
    alignas(64) std::atomic<uint32_t> epoch_{0};
    alignas(64) std::atomic<bool> open_{false};
    alignas(64) std::atomic<int> active_{0};
    alignas(64) std::atomic<int> asleep_{0};
    std::vector<std::thread> workers_;
};

std::mutex pool_mutex;  // one op at a time; ops of two models take turns
std::unique_ptr<Pool> pool;
int wanted = 0;

}  // namespace

int usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    return static_cast<int>(std::thread::hardware_concurrency());
}

int thread_count() {
    if (wanted == 0) wanted = usable_cores() > 0 ? usable_cores() : 1;
    return wanted;
}

void set_thread_count(int count) {
    require(count >= 1 && count <= 256, "thread count outside 1..256");
    std::lock_guard lock(pool_mutex);
    wanted = count;
    if (pool && pool->count() != count) pool.reset();
}

void run_items(int64_t items, ItemFn fn, void* context) {
    std::lock_guard lock(pool_mutex);
    const int count = thread_count();
    if (items <= 1 || count == 1) {
        for (int64_t item = 0; item < items; ++item) fn(context, item, 0);
        return;
    }
    if (pool && !pool->usable()) pool.release();  // forked: its threads live in the parent
    if (!pool) pool = std::make_unique<Pool>(count);
    pool->run(items, fn, context);
}

}  // namespace freehold
