/* The header alone, twice, in several units of one program, as C and as C++. A formatter would
 * remove the second one.
 */
/* clang-format off */
#ifdef WITH_HPP
#include <xent.hpp>
#include <xent.hpp>
#else
#include <xent.h>
#include <xent.h>
#endif
/* clang-format on */

#ifdef MAIN
int main(void) {
  const xent_problem problem = xent_problem_default();
  return xent_version() == XENT_VERSION_NUMBER && problem.struct_size == sizeof problem ? 0 : 1;
}
#endif
