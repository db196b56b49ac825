#include <cstddef>
#include <cstdint>
#include <vector>

#include "sink/change.h"
#include "sink/type_shape.h"

// Values and events as a damaged log could have them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using pgc::TypeShape;
  const TypeShape array{.kind = TypeShape::Kind::kArray, .members = {{.oid = 90'001}}};
  const TypeShape row{.kind = TypeShape::Kind::kComposite,
                      .members = {{.oid = 23}, {.oid = 90'002, .shape = &array}}};
  const TypeShape range{.kind = TypeShape::Kind::kRange, .members = {{.oid = 1, .shape = &row}}};
  const TypeShape ranges{.kind = TypeShape::Kind::kMultirange,
                         .members = {{.oid = 2, .shape = &range}}};
  const TypeShape rows{.kind = TypeShape::Kind::kArray, .members = {{.oid = 3, .shape = &row}}};
  for (const TypeShape* const shape : {&array, &row, &range, &ranges, &rows}) {
    std::vector<uint8_t> value(data, data + size);
    (void)pgc::TranslateOids(*shape, value);
  }
  pgc::Change change;
  (void)pgc::ParseChange({data, size}, change);
  (void)pgc::ParseTruncate({data, size});
  (void)pgc::ParseCommitTime({data, size});
  (void)pgc::ParseSequences({data, size});
  return 0;
}
