"""The hand: skeleton, kinematics, spheres, skin and the poses it takes."""
