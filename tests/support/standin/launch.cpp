/* Launches of emulated kernels as work of the stand-in's streams. */
#include "tests/support/standin/cudart.h"

#include <functional>

namespace emu
{

/* The harness calls these where a program has them; see tests/support/cuda_emu.h. */
void launch_hook(cudaStream_t stream, std::function<void()> perform);
size_t shared_bytes_allowed(const void *kernel);

void launch_hook(cudaStream_t stream, std::function<void()> perform)
{
    if (!standin_launch_begins(stream)) return;
    if (standin_stream_idle(stream)) {
        perform();
        return;
    }
    standin_enqueue(
        stream, [](void *work) { (*static_cast<std::function<void()> *>(work))(); },
        new std::function<void()>(std::move(perform)),
        [](void *work) { delete static_cast<std::function<void()> *>(work); });
}

size_t shared_bytes_allowed(const void *kernel)
{
    return standin_shared_bytes(kernel);
}

} // namespace emu

void standin_launch_link(void)
{
}
