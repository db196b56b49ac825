// The backends that the contract is tested over in one process.
#include <gtest/gtest.h>

#include "store/embedded_store.h"
#include "store/memory_store.h"
#include "store/store_contract.h"
#include "testing/temp_dir.h"

namespace pgc {

Contract::Contract()
    : dir_(std::make_shared<TempDir>()), store_(GetParam().open(dir_->path(), time_.timer())) {}

std::vector<Backend> Backends() {
  return {{.name = "Memory",
           .open = [](const auto&, const auto& timer) { return NewMemoryStore(timer); }},
          {.name = "Embedded", .open = [](const auto& dir, const auto& timer) {
             auto store = OpenEmbeddedStore(dir, {.timer = timer});
             EXPECT_TRUE(store.ok()) << store.status();
             return store.ok() ? *std::move(store) : nullptr;
           }}};
}

}  // namespace pgc
