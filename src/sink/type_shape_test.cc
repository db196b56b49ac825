#include "sink/type_shape.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace pgc {
namespace {

using Kind = TypeShape::Kind;

std::string Number(uint32_t number) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; ++i) bytes[i] = static_cast<char>(number >> (24 - 8 * i));
  return bytes;
}
std::string Sized(const std::string& value) {
  return Number(static_cast<uint32_t>(value.size())) + value;
}
const std::string kNull = Number(UINT32_MAX);

std::string Array(uint32_t element, const std::string& elements, uint32_t count) {
  return Number(1) + Number(1) + Number(element) + Number(count) + Number(1) + elements;
}
std::string Composite(uint32_t first, const std::string& a, uint32_t second, const std::string& b) {
  return Number(2) + Number(first) + a + Number(second) + b;
}

std::optional<std::string> Translated(const TypeShape& shape, std::string value) {
  if (!TranslateOids(shape, {reinterpret_cast<uint8_t*>(value.data()), value.size()})) {
    return std::nullopt;
  }
  return value;
}

// mood[] (element 90001), and (int4, mood[]), and a range of the latter.
struct Shapes {
  TypeShape array{.kind = Kind::kArray, .members = {{.oid = 90'001}}};
  TypeShape composite{.kind = Kind::kComposite,
                      .members = {{.oid = 23}, {.oid = 90'002, .shape = &array}}};
  TypeShape composites{.kind = Kind::kArray, .members = {{.oid = 90'003, .shape = &composite}}};
  TypeShape range{.kind = Kind::kRange, .members = {{.oid = 90'003, .shape = &composite}}};
  TypeShape multirange{.kind = Kind::kMultirange, .members = {{.oid = 90'004, .shape = &range}}};
};

TEST(TranslateOidsTest, AnArrayGetsTheTargetsElementType) {
  const std::string elements = Sized("happy") + kNull;
  EXPECT_EQ(Translated(Shapes().array, Array(16'500, elements, 2)), Array(90'001, elements, 2));
}

TEST(TranslateOidsTest, ARowInAnArrayGetsTheTypesOfItsColumns) {
  const auto value = [](uint32_t row, uint32_t moods, uint32_t mood) {
    return Array(row,
                 Sized(Composite(23, Sized("1234"), moods, Sized(Array(mood, Sized("x"), 1)))) +
                     Sized(Composite(23, kNull, moods, kNull)),
                 2);
  };
  EXPECT_EQ(Translated(Shapes().composites, value(1, 2, 3)), value(90'003, 90'002, 90'001));
}

TEST(TranslateOidsTest, BoundsOfRangesAreTranslated) {
  const auto bound = [](uint32_t moods) {
    return Sized(Composite(23, Sized("1234"), moods, kNull));
  };
  const auto range = [&](uint32_t moods) {
    return std::string("\x02") + bound(moods) + bound(moods);
  };
  EXPECT_EQ(Translated(Shapes().range, range(7)), range(90'002));
  const auto open = [&](uint32_t moods) { return std::string("\x08") + bound(moods); };
  EXPECT_EQ(Translated(Shapes().range, open(7)), open(90'002));
  EXPECT_EQ(Translated(Shapes().range, "\x01"), "\x01") << "an empty one has no bounds";
  const auto both = [&](uint32_t moods) {
    return Number(2) + Sized(range(moods)) + Sized(open(moods));
  };
  EXPECT_EQ(Translated(Shapes().multirange, both(7)), both(90'002));
}

TEST(TranslateOidsTest, EveryTruncationIsRefused) {
  const Shapes shapes;
  const std::string row = Composite(23, Sized("1234"), 5, Sized(Array(6, Sized("x"), 1)));
  for (size_t length = 0; length < row.size(); ++length) {
    EXPECT_EQ(Translated(shapes.composite, row.substr(0, length)), std::nullopt) << length;
  }
  const std::string range = std::string("\x02") + Sized(row) + Sized(row);
  for (size_t length = 0; length < range.size(); ++length) {
    EXPECT_EQ(Translated(shapes.range, range.substr(0, length)), std::nullopt) << length;
  }
}

TEST(TranslateOidsTest, ARowOfOtherColumnsIsRefused) {
  EXPECT_EQ(Translated(Shapes().composite, Number(1) + Number(23) + kNull), std::nullopt);
}

}  // namespace
}  // namespace pgc
